"A folder of pictures becomes a trained, measured and served classifier."
from importlib.metadata import PackageNotFoundError, version as _version

try: __version__ = _version('simpsons_fastai')
except PackageNotFoundError: __version__ = '0+source' # run from a source tree that is not installed

_LAZY = dict(Predictor='model.predictor', ask='serve.client') # what people type often, loaded when it is asked for
__all__ = ['__version__', *_LAZY]

def __getattr__(name:str):
    if name not in _LAZY: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module
    return getattr(import_module(f'{__name__}.{_LAZY[name]}'), name)

def __dir__(): return sorted({*globals(), *_LAZY})
