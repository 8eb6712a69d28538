"A folder of pictures becomes a trained, measured and served classifier."
from importlib.metadata import PackageNotFoundError, version as _version

try: __version__ = _version('simpsons_fastai')
except PackageNotFoundError: __version__ = '0+source'  # run from a source tree that is not installed
