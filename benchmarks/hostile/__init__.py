"Uploads that do harm: makers, mutators, and what sends them."
from .files import every_kind, harmful, heavy, png, written
from .forms import FORM, form, part, request, uploads
from .send import exchange, send_all
from .structure import structured

__all__ = ['FORM', 'every_kind', 'exchange', 'form', 'harmful', 'heavy', 'part', 'png', 'request', 'send_all', 'structured', 'uploads', 'written']
