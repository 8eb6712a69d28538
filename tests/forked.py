"""A process that has imported what trains, and forks itself for every command: to import it all anew takes longer than most commands do.

A line of JSON on stdin is a command: its `args`, its folder, its environment, and the files for what it says. A line on stdout is its process;
a number on stdin is a process to wait for, and the line on stdout how it ended.
"""
import json, os, signal, sys, warnings


def warm():
    "Import it all."
    from simpsons_fastai.cli import main # noqa: F401
    from simpsons_fastai.learn import to_onnx # noqa: F401
    from simpsons_fastai.train import study, train # noqa: F401


def become(args, cwd, env, said):
    "Take the place of a process that was started for the command."
    for fd, file in enumerate([os.devnull, *said]):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), fd)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ['simpsons', *args]
    signal.alarm(600)


def serve():
    print('ready', flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int): print(os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1]), flush=True)
        elif pid := os.fork(): print(pid, flush=True)
        else:
            from simpsons_fastai.cli import main
            become(**asked)
            return main()


if __name__ == '__main__':
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warm()
    serve()
