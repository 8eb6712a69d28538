"A group of processes with a limit on memory (cgroup, version 2 or 1), where the machine lets us make one."
import os
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path('/sys/fs/cgroup')
NEW = dict(limit='memory.max', swap='memory.swap.max', peak='memory.peak', events='memory.events')
OLD = dict(limit='memory.limit_in_bytes', swap='memory.memsw.limit_in_bytes', peak='memory.max_usage_in_bytes', events='memory.oom_control')


class Group:
    "Whoever is in it may take so many bytes together; the kernel ends one of them otherwise."
    def __init__(self, size):
        new = (ROOT/'cgroup.controllers').exists()
        self.names = NEW if new else OLD
        self.folder = (ROOT if new else ROOT/'memory')/f'simpsons-hostile-{os.getpid()}'
        self.folder.mkdir()
        try:
            if not (self.folder/self.names['limit']).exists(): raise OSError(0, 'memory is not controlled here')
            (self.folder/self.names['limit']).write_text(str(size))
            with suppress(OSError): (self.folder/self.names['swap']).write_text('0' if new else str(size))
        except OSError:
            self.close()
            raise

    def add(self, pid): (self.folder/'cgroup.procs').write_text(str(pid))

    def read(self, name):
        file = self.folder/self.names[name]
        return file.read_text() if file.exists() else '0'

    def peak(self): return int(self.read('peak'))

    def killed(self):
        "How many the kernel ended."
        return dict(o.split() for o in self.read('events').splitlines() if ' ' in o).get('oom_kill', 'unknown')

    def close(self):
        for _ in range(50):
            with suppress(OSError): return self.folder.rmdir()
            time.sleep(.1)

def memory_group(size): # (the group or None, a sentence)
    "A group, or why there is none."
    try: return Group(size), f'in a memory group of {size/1e6:,.0f} MB'
    except OSError as e: return None, f'not in a memory group: this machine lets us make none ({e.strerror})'
