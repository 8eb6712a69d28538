"""Labelling an archive: its rate beside `predict_many` on the same pictures, its peak memory and the cost of a picture as it grows, what Ray costs, and the timeline of a known video.

    python benchmarks/archive.py [--case small] [--n 2000] [--rounds 3] [--memory] [--ray] [--timeline] [--json FILE]

`small` is ResNet-18 at 64×64, `large` is ResNeXt-50 32x4d at 224×224; the network has learnt nothing, which changes no time. The pictures are drawn, 480×360 JPEGs,
120 of them under n names. *Rate*: `label` and `predict_many`, in turn, in one process, from the bundle's folder to the last answer; the median of the rounds' ratios. *Memory*: processes of
their own label 2,000 and 20,000 pictures; the highest memory of each (VmHWM), and what a picture costs beyond 64 of them, so without the start. *Ray*: the same
pictures in parts of 250 by both engines on the same cores, in turn, workers and network started before; and how long that start takes. *Timeline*: a network is trained on
the drawn townsfolk and on empty scenes, labels a drawn video of ten minutes, and its timeline is compared with who was drawn when.
"""
import argparse, json, os, platform, random, statistics, subprocess, sys, tempfile, time, warnings
from itertools import cycle, islice
from pathlib import Path

warnings.filterwarnings('ignore')
from PIL import Image
from simpsons_fastai.target import one_label
from simpsons_fastai.serve.archive import label, read_labels
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.drawn import ERAS, draw_scene, springfield_mini, springfield_video
from simpsons_fastai.serve.appearances import seconds_f1
from simpsons_fastai.serve.timeline import timeline

CASES = dict(small=('resnet18', 64), large=('resnext50_32x4d', 224))
MEMORY = r'''import re, sys, time; from pathlib import Path
from simpsons_fastai.serve.archive import label
def seconds(pictures, out): start = time.perf_counter(); label(sys.argv[1], pictures, out); return time.perf_counter() - start
few, out = sys.argv[3:]
seconds(few, f'{out} warm'); begin = seconds(few, f'{out} begin')
print(seconds(sys.argv[2], out) - begin, re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1])'''  # ru_maxrss would count the parent's memory


def materials(arch, size, folder):
    "120 JPEGs and a bundle."
    from simpsons_fastai.learn.export import bundle_model
    from simpsons_fastai.pictures.preprocess import Preprocess
    from simpsons_fastai.learn.models import build_model
    mini = springfield_mini(folder/'mini', n=120)
    for p in mini.rglob('*.jpg'): Image.open(p).resize((480, 360)).save(p, quality=90)
    pre = Preprocess(size, 'bicubic', (.485, .456, .406), (.229, .224, .225))
    return sorted(mini.rglob('*.jpg')), bundle_model(build_model(arch, 10, 'fastai'), folder/'bundle', arch, 'fastai', one_label([f'name {i}' for i in range(10)]), pre)


def many(files, folder, n):
    "A folder with n names for the pictures."
    folder.mkdir()
    for i, p in enumerate(islice(cycle(files), n)): os.link(p, folder/f'{i:06}.jpg')
    return folder


def rates(bundle, pictures, folder, rounds):
    "Pictures a second of both, a pair a round; the first round warms up and does not count."
    paths, pairs = sorted(map(str, pictures.iterdir())), []
    for i in range(rounds + 1):
        start = time.perf_counter(); sum(1 for _ in Predictor(bundle).predict_many(paths)); middle = time.perf_counter()
        label(bundle, pictures, folder/f'labels-{i}'); end = time.perf_counter()
        pairs.append((len(paths)/(end - middle), len(paths)/(middle - start)))
    return pairs[1:]


def peak(bundle, pictures, few, out):
    "(Megabytes, milliseconds a picture) of a process that labels."
    seconds, kb = subprocess.run([sys.executable, '-W', 'ignore', '-c', MEMORY, bundle, pictures, few, out], check=True, capture_output=True, text=True).stdout.split()[-2:]
    return int(kb)/1024, float(seconds)*1e3/(len(list(pictures.iterdir())) - len(list(few.iterdir())))


def on_ray(bundle, pictures, few, folder, rounds):
    "(Seconds until Ray's workers have labelled a few pictures, pairs of pictures a second with Ray and alone.)"
    import ray
    start, n, pairs = time.perf_counter(), len(list(pictures.iterdir())), []
    ray.init('local', num_cpus=len(os.sched_getaffinity(0)), object_store_memory=100_000_000, include_dashboard=False, log_to_driver=False)
    label(bundle, few, folder/'ray begin', shard=8, engine='ray')
    begin = time.perf_counter() - start
    for i in range(rounds):
        start = time.perf_counter(); label(bundle, pictures, folder/f'ray {i}', shard=250, engine='ray'); middle = time.perf_counter()
        label(bundle, pictures, folder/f'alone {i}', shard=250); end = time.perf_counter()
        pairs.append((n/(middle - start), n/(end - middle)))
    ray.shutdown()
    return begin, pairs


def known_video(folder, seconds, fps):
    "Train on the townsfolk, label a video of them, compare."
    from simpsons_fastai.train.train import train
    mini = springfield_mini(folder/'townsfolk', n=1500)
    for part, n in dict(train=150, test=30).items():
        (mini/part/'nobody').mkdir()
        for i in range(n): draw_scene(None, ERAS[i%4], random.Random(f'{part} {i}')).save(mini/part/f'nobody/{i}.jpg', quality=90)
    run = train(mini, out=folder/'run', arch='resnet18', size=64, epochs=16, bs=32, weights='none', cache='off')
    known = springfield_video(folder/'video/known.mp4', seconds=seconds, seed=7)
    start = time.perf_counter()
    out = label(run.bundle, folder/'video', folder/'labels', fps=fps)
    took, rows = time.perf_counter() - start, read_labels(out)
    truth = [next((o['character'] for _, o in known.iterrows() if o['from'] <= t < o['to']), 'nobody') for t in rows.time]
    return dict(macro_f1=run.report['macro_f1'], seconds=seconds, fps=fps, frames=len(rows), label_seconds=took, right=float((rows.label == truth).mean()), f1=seconds_f1(timeline(out), known))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--case', default='small', choices=list(CASES), help='small unless told')
    parser.add_argument('--n', type=int, default=2000, help='pictures for the rate')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--memory', action='store_true', help='label 2,000 and 20,000 pictures in processes of their own, too')
    parser.add_argument('--ray', action='store_true', help='label with Ray on these cores, too')
    parser.add_argument('--timeline', action='store_true', help='train, and label ten minutes of video, too')
    parser.add_argument('--seconds', type=float, default=600, help='of that video')
    parser.add_argument('--fps', type=float, default=2, help='frames a second of it that are labelled')
    parser.add_argument('--json', type=Path, help='write the figures there')
    args = parser.parse_args()
    res = dict(case=args.case, python=platform.python_version(), cores=len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        files, bundle = materials(*CASES[args.case], folder)
        few, pictures = many(files, folder/'few', 64), many(files, folder/'pictures', args.n)
        pairs = rates(bundle, pictures, folder, args.rounds)
        res |= dict(label=statistics.median(a for a, _ in pairs), predict_many=statistics.median(b for _, b in pairs), ratio=statistics.median(a/b for a, b in pairs))
        print(f"{args.case}, {args.n} pictures: label {res['label']:.1f}/s, predict_many {res['predict_many']:.1f}/s, ratio {res['ratio']:.3f}", flush=True)
        if args.memory:
            for n in (2000, 20_000):
                res[f'peak_{n}'], res[f'ms_{n}'] = peak(bundle, many(files, folder/f'{n} pictures', n), few, folder/f'labels of {n}')
                print(f"{n} pictures: peak {res[f'peak_{n}']:.0f} MB, {res[f'ms_{n}']:.3f} ms a picture", flush=True)
            print(f"20,000 over 2,000: memory {res['peak_20000']/res['peak_2000']:.3f}, cost a picture {res['ms_20000']/res['ms_2000']:.3f}")
        if args.ray:
            begin, pairs = on_ray(bundle, pictures, few, folder, args.rounds)
            res['ray'] = o = dict(begin=begin, ray=statistics.median(a for a, _ in pairs), alone=statistics.median(b for _, b in pairs), ratio=statistics.median(a/b for a, b in pairs))
            print(f"with Ray {o['ray']:.1f}/s, alone {o['alone']:.1f}/s, ratio {o['ratio']:.3f}; Ray takes {begin:.1f} s to begin", flush=True)
        if args.timeline:
            res['timeline'] = o = known_video(folder, args.seconds, args.fps)
            print(f"{o['seconds']:.0f} s of video at {o['fps']:g} frames/s, labelled in {o['label_seconds']:.1f} s by a network of macro F1 {o['macro_f1']:.3f}: "
                  f"{o['right']:.3f} of the frames right, F1 over seconds {o['f1']:.3f}")
    if args.json: args.json.write_text(json.dumps(res, indent=2) + '\n')


if __name__ == '__main__': main()
