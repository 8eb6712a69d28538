"Package metadata: every value comes from settings.ini."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

extras = {o.replace('_', '-'): cfg[f'{o}_requirements'].split() for o in cfg['extras'].split()}

setup(
    version=cfg['version'],
    description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    license=cfg['license'],
    keywords=cfg['keywords'].split(),
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[cfg["lib_name"], f"{cfg['lib_name']}.*"]),
    package_data={cfg['lib_name']: ['py.typed', 'assets/demo/*']},
    install_requires=cfg['requirements'].split(),
    extras_require=extras | {'dev': sum(extras.values(), cfg['dev_requirements'].split())},
    # the names that nbdev 3 spells with a hyphen; they need the dev extra
    entry_points={'console_scripts': cfg['console_scripts'].split() + cfg['dev_scripts'].split(),
                  'nbdev': [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"]},
)
