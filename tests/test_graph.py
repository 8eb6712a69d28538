"A stranger's network is walked before a runtime sees it: nothing outside its file is read."
import shutil
import numpy as np
import pytest
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.model.bundle import DEMO, _write_sums, load_bundle
from simpsons_fastai.model.graph import check_network
from simpsons_fastai.model.predictor import Predictor

onnx = pytest.importorskip('onnx', reason='networks are made with the package onnx')
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def outside(name='w', location='secret.bin', n=10):
    "A tensor whose bytes lie in another file."
    tensor = TensorProto(name=name, data_type=TensorProto.UINT8, dims=[n], data_location=TensorProto.EXTERNAL)
    for key, value in dict(location=location, offset='0', length=str(n)).items(): tensor.external_data.add(key=key, value=value)
    return tensor

def network(nodes, initializers=(), outputs=('y',), functions=(), **kwargs):
    values = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
    graph = helper.make_graph(nodes, 'g', [helper.make_tensor_value_info('pixels', TensorProto.UINT8, None)], values, list(initializers), **kwargs)
    return helper.make_model(graph, functions=list(functions))

def in_initializer(): return network([helper.make_node('Cast', ['w'], ['y'], to=TensorProto.FLOAT)], [outside()])

def in_attribute(): return network([helper.make_node('Constant', [], ['w'], value=outside()), helper.make_node('Cast', ['w'], ['y'], to=TensorProto.FLOAT)])

def in_several(): return network([helper.make_node('Odd', [], ['y'], domain='odd', values=[outside(), outside('v')])])

def branch(initializer):
    return helper.make_graph([helper.make_node('Cast', ['w'], ['z'], to=TensorProto.FLOAT)], 'b', [], [helper.make_tensor_value_info('z', TensorProto.FLOAT, None)], [initializer])

def in_a_branch():
    fine = numpy_helper.from_array(np.zeros(10, np.uint8), 'w')
    return network([helper.make_node('If', ['c'], ['y'], then_branch=branch(outside()), else_branch=branch(fine))], [numpy_helper.from_array(np.array(True), 'c')])

def in_a_function():
    inside = [helper.make_node('Constant', [], ['w'], value=outside()), helper.make_node('Cast', ['w'], ['y'], to=TensorProto.FLOAT)]
    f = helper.make_function('odd', 'F', [], ['y'], inside, [helper.make_opsetid('', 17)])
    return network([helper.make_node('F', [], ['y'], domain='odd')], functions=[f])

def in_a_sparse_tensor():
    sparse = onnx.SparseTensorProto(values=outside('w'), indices=numpy_helper.from_array(np.arange(10), 'i'), dims=[10])
    return network([helper.make_node('Identity', ['w'], ['y'])], sparse_initializer=[sparse])

def named_only():
    "The place is named, and not that it counts."
    model = in_initializer()
    model.graph.initializer[0].ClearField('data_location')
    return model

KINDS = [in_initializer, in_attribute, in_several, in_a_branch, in_a_function, in_a_sparse_tensor, named_only]


@pytest.mark.parametrize('make', KINDS)
def test_bytes_of_another_file_are_refused_wherever_they_are_named(make):
    with pytest.raises(SimpsonsError, match='names bytes of another file'): check_network(make().SerializeToString(), 'model.onnx')


@pytest.mark.parametrize('path', [DEMO/'model.onnx'])
def test_whole_networks_pass(path): assert check_network(path.read_bytes(), path)


def test_no_bytes_make_it_fail_otherwise():
    rng = np.random.default_rng(1)
    whole = (DEMO/'model.onnx').read_bytes()
    for n in [0, 1, 5, 100, *rng.integers(0, len(whole), 20)]:
        for data in (whole[:n], rng.bytes(int(min(n, 5000)))):
            try: check_network(data, 'model.onnx')
            except SimpsonsError as e: assert 'model.onnx is no ONNX network' in str(e) or 'another file' in str(e)
    nested = b''
    for _ in range(300): nested = part(1, part(5, part(6, nested))) # a graph in an attribute of a node, and so on
    with pytest.raises(SimpsonsError): check_network(part(7, nested), 'model.onnx')


def _varint(n):
    out = b''
    while n > 127: out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def part(number, content): return bytes([number << 3 | 2]) + _varint(len(content)) + content


def with_network(folder, data):
    "The demo's bundle with another network, its checksums right."
    shutil.copytree(DEMO, folder)
    (folder/'model.onnx').write_bytes(data)
    _write_sums(folder)
    return folder

@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_a_bundle_cannot_read_a_file_of_ours(tmp_path, monkeypatch, runtime):
    pytest.importorskip(runtime)
    (tmp_path/'secret.bin').write_bytes(bytes(range(10)))
    monkeypatch.chdir(tmp_path)
    bundle = load_bundle(with_network(tmp_path/'bundle', in_initializer().SerializeToString()))
    with pytest.raises(SimpsonsError, match='names bytes of another file'): Predictor(bundle, runtime)
