"""Does `speed='auto'` choose well? Its verdict beside every precision and memory format, in one run.

    python benchmarks/speed.py [--nets resnet18 ...] [--rounds 8] [--json FILE]

Six networks train steps (forward, loss, backward, AdamW) on a batch that lies in memory, in float32 and bfloat16, in
both memory formats, taking turns. First `measured_policy` says, with nothing remembered, what it would take; then all of
them are timed for much longer than it had. The figure is the chosen one's steps a second over those of the best: asked
is 0.97. bfloat16 without instructions for it is left out, as `auto` leaves it out.
"""
import argparse, json, os, statistics, tempfile, time

import timm, torch
from torch import nn
from simpsons_fastai.learn.speed import SpeedPolicy
from simpsons_fastai.learn.trial import measured_policy, policies

NETS = dict(tf_efficientnet_lite0=(96, 32), mobilenetv3_large_100=(96, 32), resnet18=(64, 64),
            resnext50_32x4d=(96, 16), densenet121=(64, 32), efficientnet_b0=(96, 32))


class Training:
    "Steps of a network under a policy."
    def __init__(self, arch:str, size:int, bs:int, policy:SpeedPolicy):
        torch.manual_seed(0)
        self.policy = policy
        self.net = timm.create_model(arch, num_classes=10).to(memory_format=policy.memory_format)
        self.x = torch.randn(bs, 3, size, size).contiguous(memory_format=policy.memory_format)
        self.y = torch.randint(10, (bs,))
        self.opt = torch.optim.AdamW(self.net.parameters(), 1e-3)
        self.seconds = []

    def step(self):
        start = time.perf_counter()
        with torch.autocast('cpu', self.policy.dtype, enabled=self.policy.dtype is not None): out = self.net(self.x)
        nn.functional.cross_entropy(out.float(), self.y).backward()
        self.opt.step()
        self.opt.zero_grad()
        self.seconds.append(time.perf_counter() - start)

    @property
    def rate(self) -> float: return 1/statistics.median(self.seconds[1:])


def chosen(arch:str, size:int, bs:int) -> SpeedPolicy:
    "What `auto` takes when it remembers nothing."
    with tempfile.TemporaryDirectory() as home:
        os.environ['XDG_CACHE_HOME'] = home
        return measured_policy(timm.create_model(arch, num_classes=10), arch, size, bs, 'cpu')


def measure(arch:str, size:int, bs:int, rounds:int) -> dict:
    "A network's row."
    auto = chosen(arch, size, bs)
    trainings = [Training(arch, size, bs, o) for o in policies('cpu')]
    for _ in range(rounds + 1):
        for o in trainings: o.step()
    rates = {o.policy.name: round(o.rate, 2) for o in trainings}
    return dict(network=arch, size=size, batch=bs, steps_per_second=rates, auto=auto.name,
                ratio=round(rates[auto.name]/max(rates.values()), 3))


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--nets', nargs='+', default=list(NETS), choices=NETS)
    p.add_argument('--rounds', type=int, default=8)
    p.add_argument('--json')
    args = p.parse_args()
    rows = []
    for arch in args.nets:
        rows.append(measure(arch, *NETS[arch], args.rounds))
        print(json.dumps(rows[-1]), flush=True)
    print(f'worst: {min(o["ratio"] for o in rows)} (asked 0.97)')
    if args.json:
        with open(args.json, 'w') as f: json.dump(rows, f, indent=1)


if __name__ == '__main__': main()
