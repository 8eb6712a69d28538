"A video is read from any second on, turned as it should stand, and its frames are chosen as asked."
import random
import numpy as np
import pytest
av = pytest.importorskip('av')
from PIL import Image
from simpsons_fastai.pictures.drawn import ERAS, TOWNSFOLK, draw_scene, springfield_video
from simpsons_fastai.pictures.footage import Unit
from simpsons_fastai.pictures.frames import chosen_frames
from simpsons_fastai.pictures.video import Video, quarter_turns, rgb


@pytest.fixture(scope='module')
def episode(tmp_path_factory):
    path = tmp_path_factory.mktemp('video')/'episode.mp4'
    springfield_video(path, seconds=30, seed=1)
    return path


def frames_of(path, start=0.):
    with Video(path) as video: return [(t, rgb(o, 96)) for t, o in video.frames(start)]


def test_wherever_one_begins_the_frames_are_the_same(episode):
    whole = frames_of(episode)
    assert len(whole) == 360 and whole[0][0] == 0 and round(whole[-1][0], 3) == round(359/12, 3)
    for start in (.5, 7.3, 21., 29.9):
        part = frames_of(episode, start)
        assert part[0][0] <= start
        assert [t for t, _ in part] == [t for t, _ in whole][-len(part):]
        assert all((a == b).all() for (_, a), (_, b) in zip(part, whole[-len(part):]))


@pytest.mark.parametrize('scenes', [None, .25])
def test_two_parts_are_the_whole(episode, scenes):
    def times(*unit):
        with Video(episode) as video: return [t for t, _ in chosen_frames(video, Unit('', *unit), 2., scenes)]
    middle = 200 if scenes else 33
    assert times(0, middle) + times(middle) == times(0)


def portrait(path, lying, begin, fps=10):
    "Five seconds of a picture that is higher than it is wide; lying, it is stored as a phone does."
    im = draw_scene(TOWNSFOLK[0], ERAS[0], random.Random(0)).resize((120, 160))
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('libx264', rate=fps, options=dict(crf='5'))
        stream.width, stream.height = (160, 120) if lying else (120, 160)
        if lying: stream.set_display_rotation(-90)
        for i in range(5*fps):
            frame = av.VideoFrame.from_image(im.transpose(Image.Transpose.ROTATE_90) if lying else im)
            frame.pts = round(begin*fps) + i
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def test_a_phones_video_that_begins_late(tmp_path):
    "Its times begin at a hundred seconds, as of a part of a longer recording: FFmpeg writes 105 seconds as its length."
    portrait(tmp_path/'upright.mp4', False, 0)
    portrait(tmp_path/'lying.mkv', True, 100)
    with Video(tmp_path/'upright.mp4') as video: upright = rgb(next(video.frames())[1], 96)
    with Video(tmp_path/'lying.mkv') as video:
        (t, frame), part = next(video.frames()), list(video.frames(3.))
        assert (t, frame.width, frame.height, quarter_turns(frame)) == (0, 160, 120, -1)
        assert np.allclose((video.seconds, video.file.duration/av.time_base, part[-1][0]), (5, 105, 4.9), atol=.01)
        for o in (frame, part[-1][1]):
            assert rgb(o, 96).shape == (160, 120, 3) and np.abs(rgb(o, 96) - upright.astype(int)).mean() < 4
