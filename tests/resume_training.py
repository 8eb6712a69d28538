"""A small training as a process of its own, for tests/test_resume.py and tests/chaos.py.

    python tests/resume_training.py '{"data": FOLDER, "out": RUN, ...}'     one training
    python tests/resume_training.py serve                                  a server that has imported fastai and forks a process a training

A training stops at the moments named in `hold`, says so in its output (AT moment) and waits there: to be killed, or for the file RUN.go.
At its end it writes RUN/final.json: what must be the same whether it was killed or not.
"""
import hashlib, json, os, shutil, sys, time, warnings
from pathlib import Path

warnings.filterwarnings('ignore')
from fastai.vision.all import *
from safetensors.torch import load_file
import simpsons_fastai.train.checkpoint as checkpoint, simpsons_fastai.train.train as train
from forked import warm
from simpsons_fastai.train.chance import random_states
from simpsons_fastai.train.pack import alone, pack
from simpsons_fastai.core import exit_on_error, write_json
from simpsons_fastai.pictures.table import as_table
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.pictures.split import split_table
from simpsons_fastai.learn.learner import EpochLines, adamw, simpsons_learner
from simpsons_fastai.train.resume import resumable
from simpsons_fastai.model.run import Run, is_finished, list_runs
from simpsons_fastai.train.record import RunRecorder
from simpsons_fastai.learn.speed import ChannelsLast, CPUPrecision
from simpsons_fastai.learn.fit import LabelSmoothing, SomeCutMix, SomeMixUp, WeightsEMA

DEFAULTS = dict(fits='fine_tune', epochs=2, bs=16, lr=1e-2, kind='threads', workers=0, net='tiny', half=True, mix='cutmix', opt='adamw', hold=[], minutes=5., nan='stop',
                force=False, threads=1, sampler='shuffle', accumulate=0, poison=-1, memory=10**9, seed=3, slow=0., early=0, crop=False, cache='off', average=False, smoothing=.1, fields=None)


class Net(nn.Module):
    "Two layers, batch normalisation and dropout; batches above `memory` pictures do not fit."
    def __init__(self, n, memory):
        super().__init__()
        self.memory = memory
        self.body = nn.Sequential(ConvLayer(3, 8, stride=2), ConvLayer(8, 16, stride=2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), Flatten(), nn.Dropout(.2), nn.Linear(16, n))
    def forward(self, x):
        if len(x) > self.memory: raise torch.OutOfMemoryError(f'{len(x)} pictures')
        return self.head(self.body(x))


class Holder:
    "Wait at the moments that were asked for."
    def __init__(self, moments, out): self.moments,self.go,self.counts = set(moments),Path(f'{out}.go'),{}
    def __call__(self, what):
        n = self.counts[what] = self.counts.get(what, 0) + 1
        if (moment := f'{what}:{n}') not in self.moments: return
        print('AT', moment, flush=True)
        while not self.go.exists(): time.sleep(.005)


class Moments(Callback):
    "Tell the holder where the training is; before those of `resumable` at every event."
    order,only_watches = 95,True
    def __init__(self, hold, slow): self.hold,self.slow = hold,slow
    def before_fit(self): self.hold('fit')
    def before_batch(self): self.hold('train' if self.training else 'valid'); time.sleep(self.slow)
    def after_step(self): self.hold('step')
    def after_batch(self): self.hold('batch' if self.training else 'valid batch')
    def after_train(self): self.hold('trained')
    def after_validate(self): self.hold('validated')
    def after_epoch(self): self.hold('epoch')
    def after_fit(self): self.hold('fitted')


class After(Callback):
    "Moments after those of `resumable`."
    order,only_watches = 105,True
    def __init__(self, hold): self.hold = hold
    def after_epoch(self): self.hold('saving')
    def after_fit(self): self.hold('done')


class Poison(Callback):
    "Spoil a picture of one batch of the first epoch."
    order,run_valid = -5,False
    def __init__(self, batch): self.batch = batch
    def before_batch(self):
        if (self.epoch, self.iter) == (0, self.batch): self.learn.xb = (self.x.clone().index_fill_(0, tensor([4]), math.nan),)


def hold_writes(hold):
    "Moments inside a checkpoint's write."
    fsync,rename,save = os.fsync,Path.rename,checkpoint.save_file
    def half(tensors, file):
        save(tensors, file)
        size = file.stat().st_size
        whole = file.read_bytes()
        os.truncate(file, size//2); hold('half a file')
        file.write_bytes(whole); hold('a file')
    def flushed(fd): hold('flush'); fsync(fd)
    def renamed(self, to):
        if to.name.startswith('resume'): hold('rename')
        res = rename(self, to)
        hold('renamed' if to.name.startswith('resume') else 'removing')
        return res
    checkpoint.save_file,os.fsync,Path.rename = half,flushed,renamed


def processes(table, a):
    "fastai's own loaders, with worker processes."
    item = RandomResizedCrop(32) if a.crop else Resize(32, method=ResizeMethod.Squish)
    block = DataBlock((ImageBlock, CategoryBlock), get_x=ColReader('path'), get_y=ColReader('label'), splitter=ColSplitter('split', 'valid'),
                      item_tfms=item, batch_tfms=[*aug_transforms(max_warp=0.), Normalize.from_stats(*imagenet_stats)])
    dls = block.dataloaders(table[table.split != 'test'], bs=a.bs, num_workers=a.workers)
    dls.table = table
    return dls


def learner(a):
    set_seed(a.seed)
    table = split_table(as_table(a.data), seed=a.seed)
    if a.kind == 'processes': dls = processes(table, a)
    else: dls = simpsons_dls(table, size=32, bs=a.bs, cache=a.cache, check=False, num_workers=a.workers, sampler=a.sampler)
    if a.net != 'tiny':
        learn = simpsons_learner(dls, a.net, 'none', verbose=False)
        learn.splitter = lambda m: [params(m[0]), params(m[1])]
    else:
        cbs = [ChannelsLast(), CPUPrecision()] if a.half else []
        learn = Learner(dls, Net(len(dls.vocab), a.memory), opt_func=dict(adamw=adamw, ranger=ranger)[a.opt], loss_func=CrossEntropyLossFlat(), metrics=[accuracy, F1Score(average='macro')],
                        splitter=lambda m: [params(m.body), params(m.head)], cbs=cbs)
        learn.remove_cb(ProgressCallback); learn.add_cb(EpochLines())
    return learn


def fit(learn, a, hold):
    run = Run(a.out)
    cbs = [RunRecorder(run), LabelSmoothing(a.smoothing), *dict(none=[], cutmix=[SomeCutMix()], mixup=[SomeMixUp()])[a.mix], Moments(hold, a.slow), After(hold)]
    if a.accumulate: cbs.append(GradientAccumulation(a.accumulate))
    if a.early: cbs.append(EarlyStoppingCallback('f1_score', min_delta=9., patience=a.early))
    if a.average: cbs.append(WeightsEMA(.9))
    if a.poison >= 0: cbs.append(Poison(a.poison))
    cbs += resumable(run, minutes=a.minutes, nan=a.nan, force=a.force)
    if a.fits == 'fine_tune': learn.fine_tune(a.epochs, a.lr, cbs=cbs)
    elif a.fits == 'one_cycle': learn.fit_one_cycle(a.epochs, a.lr, cbs=cbs)
    else: # the lower part trained, frozen, and trained again, as no single call of fastai's does
        learn.fit(1, a.lr, cbs=cbs); learn.freeze(); learn.fit_one_cycle(1, a.lr, cbs=cbs); learn.unfreeze(); learn.fit_flat_cos(1, a.lr/2, cbs=cbs)
    return run


def digest(tensors): return hashlib.sha256(b''.join(k.encode() + alone(v).flatten().view(torch.uint8).numpy().tobytes() for k,v in tensors.items())).hexdigest()


def final(learn, run):
    "What must be the same."
    tensors = {}
    state = pack(dict(optimiser=learn.opt.state_dict(), chance=random_states(learn.dls)), tensors)
    rec,history = learn.recorder,run.history.drop(columns='seconds')
    told = dict(losses=[float(o) for o in rec.losses], lrs=[float(o) for o in rec.lrs], values=[[float(x) for x in o] for o in rec.values]) # before `get_preds` clears them
    with learn.no_bar(), learn.no_logging(): probs,_ = learn.get_preds()
    return dict(model=digest(learn.model.state_dict()), optimiser=digest(tensors), others=hashlib.sha256(json.dumps(state).encode()).hexdigest(),
                best=digest(load_file(run.best)), last=digest(load_file(run.path/'checkpoints/last.safetensors')), history=history.to_csv(index=False),
                report=digest(dict(probs=probs)), **told)


def whole_way(a, hold):
    "`train` and `resume`, from the pictures to the report."
    finish = train.finish_run
    train.finish_run = lambda *args: (hold('report'), finish(*args))
    begun = (Path(a.out)/'config.json').exists()
    if not begun: shutil.rmtree(a.out, ignore_errors=True) # killed before there was anything to go on with
    if is_finished(a.out): run = Run(a.out) # killed after all was done
    else: run = train.resume(a.out, a.force) if begun else train.train(a.data, a.out, cache='off', minutes=a.minutes, **a.fields)
    scores = {s: {k: v for k,v in o.items() if 'seconds' not in k and 'per_second' not in k} for s,o in run.report['splits'].items()}
    weights = {o.name: digest(load_file(o)) for o in (run.path/'checkpoints').glob('*.safetensors')}
    write_json(run.path/'final.json', dict(weights=weights, history=run.history.drop(columns='seconds').to_csv(index=False), report=scores,
                                           left=sorted(o.name for o in (run.path/'checkpoints').iterdir())))


def main(args):
    a = SimpleNamespace(**DEFAULTS | args)
    torch.set_num_threads(a.threads)
    hold = Holder(a.hold, a.out)
    hold_writes(hold)
    if a.fields is not None: return whole_way(a, hold)
    learn = learner(a)
    run = fit(learn, a, hold)
    hold('report')
    if a.net == 'tiny': learn.model.memory = 10**9
    write_json(run.path/'final.json', final(learn, run))


def child(args):
    "A process of its own: its output goes to a file, and it ends like one."
    os.setsid()
    log = os.open(args.pop('log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for fd in (1, 2): os.dup2(log, fd)
    sys.stdout,sys.stderr = (os.fdopen(fd, 'w', buffering=1, closefd=False) for fd in (1, 2))
    try: exit_on_error(main, args); status = 0
    except SystemExit as e: status = e.code if isinstance(e.code, int) else 1
    except BaseException: import traceback; traceback.print_exc(); status = 1
    sys.stdout.flush(); sys.stderr.flush()
    os._exit(status)


def serve():
    "Fork a process for every line of JSON on stdin; answer with its number, and with its status when asked."
    warm()
    print('ready', flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        if 'runs' in ask: print(json.dumps(list_runs(ask['runs']).to_dict('records')), flush=True); continue
        if 'wait' in ask: print(os.waitstatus_to_exitcode(os.waitpid(ask['wait'], 0)[1]), flush=True); continue
        if not (pid := os.fork()): child(ask)
        print(pid, flush=True)


if __name__ == '__main__':
    if sys.argv[1] == 'serve': serve()
    else: exit_on_error(main, json.loads(sys.argv[1]))
