"A decoder's process, but for four files: they keep it, fill it, or end it."
import os
import time
from simpsons_fastai.pictures import decoder


def spin():
    while True: pass

def eat(): return [bytes(10_000_000) + bytes([i]) for i in range(10_000)]

DEEDS = {b'hang': lambda: time.sleep(100), b'spin': spin, b'eat': eat, b'crash': os.abort}
known = decoder.decoded

def decoded(order, data):
    if deed := DEEDS.get(data): deed()
    return known(order, data)

decoder.decoded = decoded
if __name__ == '__main__': decoder.main()
