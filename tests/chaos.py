"""Kill trainings (kill -9) at random moments, go on, kill again; at their ends compare them bit for bit with trainings that nothing happened to.

    python tests/chaos.py [--kills 100] [--seed 0] [--out chaos.json]

Every process is killed after a random time, up to what a whole training takes. Printed is a row for each kind of training: how many were ended, how often
they were killed, where the next process went on, and how many ended other than the whole one. It ends with status 1 where one did, or could not go on.
"""
import argparse, json, random, re, shutil, signal, sys, tempfile, time
from collections import Counter
from pathlib import Path
from test_resume import KINDS, WAYS, Server, Training, final

TRAININGS = dict(fine_tune={}, two_workers=dict(kind='processes', workers=2)) | KINDS | {f'train, {k}': dict(fields=v) for k,v in WAYS.items()}

def where(said:str) -> str:
    "Where a process went on, by what it said."
    if not (m := re.findall(r'fit (\d+) goes on from (its end|epoch (\d+), batch (\d+))', said)): return 'not reached'
    fit,place,epoch,batch = m[-1]
    if place == 'its end': return 'end of a fit'
    return f"fit {fit}, {'inside an epoch' if int(batch) else 'start of an epoch'}"

def survive(server, out:Path, rng, seconds:float, kills:int, **args) -> tuple:
    "Kill a training up to `kills` times and let it end; (how often it was killed, where it went on, the last process)."
    places,killed = Counter(),0
    while True:
        t = Training(server, out, **args)
        end = time.monotonic() + rng.uniform(0, seconds)
        while killed < kills and time.monotonic() < end and not t.ended(): time.sleep(.002)
        if killed < kills and not t.ended(): t.signal(signal.SIGKILL)
        t.status = t.wait()
        if killed: places[where(t.said)] += 1
        if t.status != -signal.SIGKILL: return killed,places,t
        killed += 1

def run_kind(server, folder:Path, data:Path, name:str, args:dict, kills:int, rng) -> dict:
    "Trainings of one kind, until they were killed often enough."
    args = dict(data=str(data), minutes=.001) | args
    start = time.monotonic()
    whole = Training(server, folder/f'{name}-whole', **args)
    assert whole.wait() == 0, whole.said
    seconds,want = time.monotonic() - start,final(whole)
    row = dict(training=name, seconds=round(seconds, 1), ended=0, kills=0, other=0, failed=0, places=Counter())
    while row['kills'] < kills:
        out = folder/f"{name}-{row['ended']}"
        killed,places,t = survive(server, out, rng, seconds, min(6, kills - row['kills']), **args)
        same = t.status == 0 and final(t) == want
        if t.status: print(f'{name} could not go on:\n{t.said}', flush=True)
        row.update(ended=row['ended'] + 1, kills=row['kills'] + killed, other=row['other'] + (t.status == 0 and not same), failed=row['failed'] + (t.status != 0), places=row['places'] + places)
        if same: shutil.rmtree(out, ignore_errors=True)
    return row

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--kills', type=int, default=100, help='in all, at least')
    p.add_argument('--seed', type=int, default=0, help='of the moments')
    p.add_argument('--only', help='one kind of training: ' + ', '.join(TRAININGS))
    p.add_argument('--out', type=Path, help='write the rows there as JSON, too')
    a = p.parse_args()
    from simpsons_fastai.pictures.drawn import springfield_mini
    kinds,rng,server = {k: v for k,v in TRAININGS.items() if a.only in (None, k)},random.Random(a.seed),Server()
    each,rows = -(-a.kills//len(kinds)),[]
    with tempfile.TemporaryDirectory() as d:
        data = springfield_mini(Path(d)/'mini', n=240)
        for name,args in kinds.items():
            rows.append(row := run_kind(server, Path(d), data, name, args, each, rng))
            print(f"{name:24} {row['ended']:3} ended after {row['kills']:3} kills, {row['other']} other than the whole one, {row['failed']} could not go on; "
                  + ', '.join(f'{v} {k}' for k,v in sorted(row['places'].items())), flush=True)
    server.close()
    total = {k: sum(o[k] for o in rows) for k in ('ended', 'kills', 'other', 'failed')}
    print(f"{total['ended']} trainings, killed {total['kills']} times: {total['other']} ended other than the whole one, {total['failed']} could not go on")
    if a.out: a.out.write_text(json.dumps(dict(total=total, rows=rows), indent=2) + '\n')
    sys.exit(bool(total['other'] or total['failed']))

if __name__ == '__main__': main()
