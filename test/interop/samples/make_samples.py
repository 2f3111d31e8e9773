"""Writes tiny soft-label files in the layouts of public projects, with known values beside them (expected.json).

Run: python make_samples.py [OUT]   (torch, torchvision, numpy, pillow). Deterministic: two runs give equal bytes.
Layouts were learnt from the projects' sources; none of their code is used here.
"""
import json, os, pickle, shutil, struct, sys
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as F
from torchvision.transforms import InterpolationMode, RandomResizedCrop

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
N, C, B, EPOCHS, STORED, SIZE = 10, 7, 4, 2, 20, 12  # images, classes, batch, epochs, stored and rendered side
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TAU = 20


def fresh(name):
    path = os.path.join(OUT, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def listed(value):
    if isinstance(value, torch.Tensor):
        return value.double().tolist() if value.is_floating_point() else value.tolist()
    if isinstance(value, np.ndarray):
        return value.astype(np.float64).tolist() if value.dtype.kind == 'f' else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [listed(v) for v in value]
    return value


def write_json(path, value):
    with open(path, 'w') as f:
        json.dump(value, f, separators=(',', ':'))
        f.write('\n')


def seed(n):
    torch.manual_seed(n)
    np.random.seed(n)


# ---- images: one PNG each, five class folders of two ---------------------------------------------------------
def make_images():
    root = fresh('images')
    rng = np.random.default_rng(7)
    images = []
    for i in range(N):
        yy, xx = np.mgrid[0:STORED, 0:STORED] / (STORED - 1)
        low = rng.random((3, 4))
        smooth = np.stack([a + b * yy + c * xx + d * yy * xx for a, b, c, d in (low - 0.3)], -1)
        noise = rng.random((STORED, STORED, 3)) * 0.3
        pixels = np.clip((smooth + noise) * 200, 0, 255).astype(np.uint8)
        folder = os.path.join(root, f'new{i // 2:03d}')
        os.makedirs(folder, exist_ok=True)
        Image.fromarray(pixels).save(os.path.join(folder, f'class{i // 2:03d}_id{i % 2:03d}.png'))
        images.append(Image.fromarray(pixels))
    return images


IMAGES = make_images()


def draw_view(image, size=SIZE):
    """A crop as shares (top, left, height, width) in float32 and a flip, drawn as torchvision draws them."""
    top, left, h, w = RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
    coords = torch.tensor([top / image.height, left / image.width, h / image.height, w / image.width])
    return coords, bool(torch.rand(1) < 0.5)


def render(image, coords, flip, size=SIZE):
    """The view as those projects render it: PIL crop (rounded) and antialiased bilinear resize, mirrored, normalised."""
    top, left, h, w = [c.item() * side for c, side in zip(coords, [image.height, image.width] * 2)]
    view = F.resized_crop(image, top, left, h, w, [size, size], InterpolationMode.BILINEAR)
    if flip:
        view = F.hflip(view)
    return F.normalize(F.to_tensor(view), MEAN, STD)


def mix(views, kind):
    """(mixed views, partner positions, lambda, box) of a batch; the partner is a position within the batch."""
    if kind is None:
        return views, None, None, None
    perm = torch.randperm(len(views))
    if kind == 'mixup':
        lam = np.random.beta(0.8, 0.8)
        return lam * views + (1 - lam) * views[perm], perm, lam, None
    lam = np.random.beta(1.0, 1.0)
    side, cut = SIZE, int(SIZE * np.sqrt(1 - lam))
    cy, cx = np.random.randint(side), np.random.randint(side)
    box = [np.clip(cy - cut // 2, 0, side), np.clip(cx - cut // 2, 0, side),
           np.clip(cy + cut // 2, 0, side), np.clip(cx + cut // 2, 0, side)]
    box = [np.int64(v) for v in box]
    mixed = views.clone()
    mixed[:, :, box[0]:box[2], box[1]:box[3]] = views[perm][:, :, box[0]:box[2], box[1]:box[3]]
    return mixed, perm, lam, box


def logits_of(count, ids=None):
    """Random logits; where ids are known, a teacher that is right about the image's class (id // 2)."""
    z = torch.randn(count, C)
    for row, i in enumerate(ids or []):
        z[row, i // 2] += 5
    return z


def describe(ids, parts, names):
    return {'ids': ids, **{name: listed(part) for name, part in zip(names, parts)}}


def views_array(batches):
    return np.concatenate([b.numpy().astype(np.float32) for b in batches])


SIX = ['coords', 'flip', 'mix_index', 'mix_lam', 'mix_bbox', 'logits']


def orders_of(n, seed, epochs):
    """Image ids as SRe2L implies them: one generator of RandomSampler for all epochs; no id is stored."""
    g = torch.Generator()
    g.manual_seed(seed)
    sampler = torch.utils.data.RandomSampler(range(n), generator=g)
    return [list(sampler) for _ in range(epochs)]


def settle_keys(file):
    """Legacy files name and sort storages by memory addresses; by order of use instead, so that bytes repeat."""
    found = {}

    class Skip(pickle.Unpickler):
        def persistent_load(self, pid):
            found.setdefault(pid[2], {'Float': 4, 'Half': 2, 'Bool': 1, 'Long': 8}[pid[1].__name__.removesuffix('Storage')])

        def find_class(self, module, name):
            return (lambda *args: None) if name.startswith('_rebuild') else super().find_class(module, name)

    with open(file, 'rb') as f:
        magic, protocol, system = pickle.load(f), pickle.load(f), pickle.load(f)
        assert (magic, protocol, system['little_endian']) == (0x1950a86a20f9469cfc6c, 1001, True)
        Skip(f).load()
        end = f.tell()
        storages = {}
        for key in pickle.load(f):
            count = f.read(8)
            storages[key] = count + f.read(struct.unpack('<q', count)[0] * found[key])
        assert f.read() == b''
    head = open(file, 'rb').read()[:end]
    names = {key: str(n).zfill(len(key)) for n, key in enumerate(found)}
    for key, name in names.items():
        head = head.replace(key.encode(), name.encode())
    with open(file, 'wb') as f:
        f.write(head)
        pickle.dump(list(names.values()), f, 2)
        for key in names:
            f.write(storages[key])
    torch.load(file, weights_only=False)


# ---- SRe2L, CDA: epoch_{e}/batch_{b}.tar, six items -----------------------------------------------------------
def sre2l(name, kind, legacy=False):
    seed(1 if kind == 'cutmix' else 2 if kind == 'mixup' else 3)
    path, expected, rendered = fresh(name), [], []
    for epoch, order in enumerate(orders_of(N, 42, EPOCHS)):
        os.makedirs(os.path.join(path, f'epoch_{epoch}'))
        for b in range(0, N, B):
            ids = order[b:b + B]
            drawn = [draw_view(IMAGES[i]) for i in ids]
            views = torch.stack([render(IMAGES[i], *d) for i, d in zip(ids, drawn)])
            mixed, perm, lam, box = mix(views, kind)
            parts = [torch.stack([c for c, _ in drawn]), torch.tensor([f for _, f in drawn]), perm, lam, box,
                     logits_of(len(ids), ids).half()]
            torch.save(parts, os.path.join(path, f'epoch_{epoch}', f'batch_{b // B}.tar'),
                       _use_new_zipfile_serialization=not legacy)
            if legacy:
                settle_keys(os.path.join(path, f'epoch_{epoch}', f'batch_{b // B}.tar'))
            expected.append({'epoch': epoch, 'batch': b // B, **describe(ids, parts, SIX)})
            rendered.append(mixed)
    write_json(os.path.join(path, 'expected.json'), {
        'layout': 'SRe2L', 'classes': C, 'samples': N, 'epochs': EPOCHS, 'batch': B, 'size': SIZE,
        'order': 'torch RandomSampler with one generator seeded 42: an epoch draws two permutations and uses the first',
        'kind': kind,
        'batches': expected})
    # What the student of those projects sees: [epochs * samples in file order, 3, size, size], float32, normalised.
    if kind is not None and not legacy:
        np.save(os.path.join(path, 'views.npy'), views_array(rendered))


# ---- LPLD: the same files, ids in a JSON, first part of all batches only --------------------------------------
def lpld(name, prune=0.25):
    seed(4)
    path, expected, indices = fresh(name), [], {}
    each = N // B  # the last batch of an epoch is dropped
    left = int(3 * each * (1 - prune))  # of three epochs
    for epoch, order in enumerate(orders_of(N, 42, 3)):
        if left == 0:
            break
        os.makedirs(os.path.join(path, f'epoch_{epoch}'))
        for b in range(each):
            if left == 0:
                break
            ids = order[b * B:(b + 1) * B]
            drawn = [draw_view(IMAGES[i]) for i in ids]
            views = torch.stack([render(IMAGES[i], *d) for i, d in zip(ids, drawn)])
            _, perm, lam, box = mix(views, 'cutmix')
            parts = [torch.stack([c for c, _ in drawn]), torch.tensor([f for _, f in drawn]), perm, lam, box,
                     logits_of(B, ids).half()]
            torch.save(parts, os.path.join(path, f'epoch_{epoch}', f'batch_{b}.tar'))
            indices.setdefault(str(epoch), []).extend(ids)
            expected.append({'epoch': epoch, 'batch': b, **describe(ids, parts, SIX)})
            left -= 1
    write_json(os.path.join(path, 'sampler_indices_epoch.json'), indices)
    write_json(os.path.join(path, 'expected.json'), {
        'layout': 'LPLD', 'classes': C, 'samples': N, 'batch': B, 'size': SIZE, 'batches': expected})


def lpld_21k(name):
    seed(5)
    path, expected, indices = fresh(name), [], {}
    os.makedirs(os.path.join(path, 'epoch_0'))
    order = orders_of(N, 42, 1)[0]
    for b in range(N // B):
        ids = order[b * B:(b + 1) * B]
        coords = torch.stack([draw_view(IMAGES[i])[0] for i in ids])
        centre = torch.randint(0, SIZE, (B, 2)).float() / SIZE
        cutout = torch.cat([centre, torch.full((B, 2), 0.5), torch.randint(0, 256, (B, 3)).float()], 1)
        parts = [coords, cutout, None, None, None, logits_of(B, ids).half()]
        torch.save(parts, os.path.join(path, 'epoch_0', f'batch_{b}.tar'))
        indices.setdefault('0', []).extend(ids)
        names = ['coords', 'cutout', 'mix_index', 'mix_lam', 'mix_bbox', 'logits']
        expected.append({'epoch': 0, 'batch': b, **describe(ids, parts, names)})
    write_json(os.path.join(path, 'sampler_indices_epoch.json'), indices)
    write_json(os.path.join(path, 'expected.json'), {
        'layout': 'LPLD 21K', 'classes': C, 'samples': N, 'batch': B, 'size': SIZE, 'batches': expected})


# ---- LPQLD: flat batch_{n}.tar, top-k logits and ids ----------------------------------------------------------
def lpqld(name, k=3, rand_aug=False):
    seed(6 + rand_aug)
    path, expected, indices = fresh(name), [], {}
    order = sum(orders_of(N, 42, EPOCHS), [])
    for n in range(4):
        ids = order[n * B:(n + 1) * B]
        drawn = [draw_view(IMAGES[i]) for i in ids]
        views = torch.stack([render(IMAGES[i], *d) for i, d in zip(ids, drawn)])
        _, perm, lam, box = mix(views, 'cutmix')
        z = logits_of(B, ids)
        top = torch.topk(z, k or C, dim=1)
        extra = []
        if rand_aug:  # two operations a sample: (which, chance drawn, magnitude), collated
            extra = [[[torch.randint(0, 15, (B,)), torch.rand(B, dtype=torch.float64).half(),
                       (torch.rand(B, dtype=torch.float64) * 10).half()] for _ in range(2)]]
        parts = [torch.stack([c for c, _ in drawn]).half(), torch.tensor([f for _, f in drawn]), *extra,
                 perm.to(torch.uint8), lam, [torch.tensor(int(v), dtype=torch.uint8) for v in box],
                 *([top.values.half(), top.indices.short()] if k else [z.half()])]
        torch.save(parts, os.path.join(path, f'batch_{n}.tar'))
        indices[str(n)] = ids
        names = ['coords', 'flip', *(['rand_params'] if rand_aug else []), 'mix_index', 'mix_lam', 'mix_bbox',
                 *(['values', 'classes'] if k else ['logits'])]
        expected.append({'batch': n, **describe(ids, parts, names)})
    write_json(os.path.join(path, 'sampler_indices_batch.json'), indices)
    write_json(os.path.join(path, 'expected.json'), {
        'layout': 'LPQLD', 'classes': C, 'samples': N, 'batch': B, 'size': SIZE, 'k': k, 'batches': expected})


# ---- FKD, FerKD: one file an image, numpy arrays --------------------------------------------------------------
def fkd(name, kind, half, legacy=False, crops=5):
    seed(9)
    path, expected = fresh(name), []
    for i in range(4):
        coords, flips = zip(*[draw_view(IMAGES[i]) for _ in range(crops)])
        p = torch.softmax(logits_of(crops, [i] * crops), 1)
        if kind == 'hard':
            labels = p.argmax(1).numpy()
        elif kind == 'smoothing':
            labels = torch.stack([p.argmax(1).float(), p.max(1).values], 1).numpy()
        else:  # marginal_smoothing_k5: [crops, 2, 5], class ids as floats and probabilities
            order = torch.argsort(p, descending=True)[:, :5]
            labels = torch.stack([order.float(), p.gather(1, order)], 1).numpy()
        state = [torch.stack(coords).numpy(), np.array(flips), labels]
        if half:
            state = [np.float16(state[0]), state[1], np.float16(state[2])]
        folder = os.path.join(path, f'new{i // 2:03d}')
        os.makedirs(folder, exist_ok=True)
        file = f'new{i // 2:03d}/class{i // 2:03d}_id{i % 2:03d}.tar'
        torch.save(state, os.path.join(path, file), _use_new_zipfile_serialization=not legacy)
        if legacy:
            settle_keys(os.path.join(path, file))
        expected.append({'file': file, **describe([i], state, ['coords', 'flip', 'labels'])})
    write_json(os.path.join(path, 'expected.json'), {
        'layout': 'FKD', 'label_type': kind, 'classes': C, 'crops': crops, 'size': SIZE, 'files': expected})


# ---- TinyViT: keys and fixed records --------------------------------------------------------------------------
def tinyvit(name, k=3):
    seed(10)
    path, expected = fresh(name), []
    for epoch in range(EPOCHS):
        folder = os.path.join(path, f'logits_top{k}_epoch{epoch}')
        os.makedirs(folder)
        order = torch.randperm(N).tolist()
        for rank in range(2):
            with open(os.path.join(folder, f'rank{rank}-keys.txt'), 'w') as keys, \
                    open(os.path.join(folder, f'rank{rank}-values.bin'), 'wb') as values:
                for i in order[rank::2]:
                    p = torch.softmax(logits_of(1, [i])[0], 0)
                    value, index = p.topk(k)
                    s = np.int32(np.random.randint(0, 1 << 31))
                    key = f'new{i // 2:03d}/class{i // 2:03d}_id{i % 2:03d}.png'
                    keys.write(key + '\n')
                    v, c = value.numpy().astype(np.float16), index.numpy().astype(np.int16)
                    values.write(s.tobytes() + c.tobytes() + v.tobytes())
                    expected.append({'epoch': epoch, 'rank': rank, 'key': key, 'seed': int(s),
                                     'classes': c.tolist(), 'values': listed(v)})
    write_json(os.path.join(path, 'expected.json'), {
        'layout': 'TinyViT', 'classes': C, 'k': k, 'record_bytes': 4 + 4 * k, 'records': expected})


# ---- HALD: one list of batches an epoch, probabilities at tau 20 ----------------------------------------------
def hald(name):
    path, expected, indices = fresh(name), [], {}
    seed(11)
    for epoch in range(EPOCHS):
        g = torch.Generator()
        g.manual_seed(42 + epoch)
        indices[str(epoch)] = torch.randperm(N, generator=g).tolist()
    torch.save(indices, os.path.join(path, 'sampler_indices_dict.pt'))
    for epoch in range(EPOCHS):
        batches = []
        for b in range(0, N, B):
            ids = indices[str(epoch)][b:b + B]
            drawn = [draw_view(IMAGES[i]) for i in ids]
            views = torch.stack([render(IMAGES[i], *d) for i, d in zip(ids, drawn)])
            _, perm, lam, box = mix(views, 'cutmix')
            parts = [torch.stack([c for c, _ in drawn]).half(), torch.tensor([f for _, f in drawn]), perm, lam, box,
                     torch.softmax(logits_of(len(ids), ids) / TAU, 1).half()]
            batches.append(parts)
            names = [*SIX[:5], 'probabilities']
            expected.append({'epoch': epoch, 'batch': b // B, **describe(ids, parts, names)})
        torch.save(batches, os.path.join(path, f'epoch_{epoch}.tar'))
    write_json(os.path.join(path, 'expected.json'), {
        'layout': 'HALD', 'classes': C, 'samples': N, 'batch': B, 'size': SIZE, 'tau': TAU, 'batches': expected})


# ---- the same file as older numpy writes it: numpy.core instead of numpy._core ---------------------------------
def numpy1(name, source):
    path = fresh(name)
    reader = torch._C.PyTorchFileReader(os.path.join(OUT, source))
    stem = os.path.splitext(os.path.basename(source))[0]
    writer = torch._C.PyTorchFileWriter(os.path.join(path, stem + '.tar'))
    for record in reader.get_all_records():
        data = reader.get_record(record)
        if record == 'data.pkl':
            assert b'numpy._core.multiarray' in data
            data = data.replace(b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n')
        if record not in ('version', 'byteorder', '.data/serialization_id', '.format_version', '.storage_alignment'):
            writer.write_record(record, data, len(data))
    writer.write_end_of_file()
    write_json(os.path.join(path, 'expected.json'), {'layout': 'as ' + source, 'note': 'GLOBALs as numpy 1 has them'})


# ---- the order of images, for readers without torch -----------------------------------------------------------
def orders():
    path = fresh('order')
    cases = []
    for n, s, epochs in [(10, 42, 4), (1000, 42, 2), (10000, 42, 3), (50000, 42, 2), (13, 7, 3), (1, 42, 2), (624, 42, 2)]:
        for epoch, p in enumerate(orders_of(n, s, epochs)):
            check = 0
            for v in p:
                check = (check * 31 + v) % 2147483647
            cases.append({'n': n, 'seed': s, 'epoch': epoch, 'first': p[:8], 'last': p[-4:], 'check': check})
    write_json(os.path.join(path, 'random-sampler.json'), {
        'check': 'c = (31 c + v) mod 2147483647 over the permutation, from 0', 'cases': cases})


# ---- things that must be refused --------------------------------------------------------------------------------
class Evil:
    def __reduce__(self):
        return (os.system, ('true',))


def hostile():
    path = fresh('hostile')
    torch.save([torch.zeros(2, 4), Evil()], os.path.join(path, 'os_system.tar'))
    good = [torch.zeros(2, 4), torch.zeros(2, dtype=torch.bool), None, None, None, torch.zeros(2, C).half()]
    file = os.path.join(path, 'truncated.tar')
    torch.save(good, file)
    data = open(file, 'rb').read()
    open(file, 'wb').write(data[:len(data) // 2])
    # A tensor that claims more elements than its storage holds.
    torch.save(good, os.path.join(path, 'oversized.tar'))
    reader = torch._C.PyTorchFileReader(os.path.join(path, 'oversized.tar'))
    writer = torch._C.PyTorchFileWriter(os.path.join(path, 'oversized_shape.tar'))
    for record in reader.get_all_records():
        data = reader.get_record(record)
        if record == 'data.pkl':  # BININT1 2, BININT1 7 -> 200, 7
            data = data.replace(b'K\x02K\x07\x86', b'K\xc8K\x07\x86')
        if record in ('data.pkl',) or record.startswith('data/'):
            writer.write_record(record, data, len(data))
    writer.write_end_of_file()
    os.remove(os.path.join(path, 'oversized.tar'))
    with open(os.path.join(path, 'bare_pickle.tar'), 'wb') as f:
        pickle.dump([1, 2, 3], f, 2)
    seed(12)
    torch.save([torch.rand(2, 4), torch.zeros(2, dtype=torch.bool), torch.tensor([0, 9]), 0.5,
                [np.int64(0), np.int64(0), np.int64(3), np.int64(3)], torch.randn(2, C).half()],
               os.path.join(path, 'partner_outside.tar'))
    bad = torch.randn(2, C).half()
    bad[1, 3] = float('nan')
    torch.save([torch.rand(2, 4), torch.zeros(2, dtype=torch.bool), None, None, None, bad],
               os.path.join(path, 'not_finite.tar'))


# ---- checkpoints: a state_dict with a transposed weight, plain and inside of what training scripts save -----------
def checkpoint():
    path = fresh('checkpoint')
    seed(13)
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    state = layer.state_dict()
    state['0.weight'] = torch.arange(6.).reshape(3, 2).t()
    state['bf'] = torch.tensor([1.5, -2.], dtype=torch.bfloat16)
    torch.save(state, os.path.join(path, 'plain.pt'))
    wrapped = {f'module.{key}': torch.nn.Parameter(value) if value.is_floating_point() else value
               for key, value in state.items()}
    torch.save({'epoch': 3, 'state_dict': wrapped, 'best': 0.5}, os.path.join(path, 'wrapped.pth'))
    torch.save({'epoch': 3, 'state_dict': wrapped, 'best': 0.5}, os.path.join(path, 'legacy.pth'),
               _use_new_zipfile_serialization=False)
    write_json(os.path.join(path, 'expected.json'), {key: listed(value) for key, value in state.items()})


if __name__ == '__main__':
    sre2l('sre2l-cutmix', 'cutmix')
    sre2l('sre2l-mixup', 'mixup')
    sre2l('sre2l-plain', None)
    sre2l('sre2l-legacy', 'cutmix', legacy=True)
    lpld('lpld')
    lpld_21k('lpld-21k')
    lpqld('lpqld')
    lpqld('lpqld-randaug', rand_aug=True)
    lpqld('lpqld-full', k=0)
    fkd('fkd-k5', 'marginal_smoothing_k5', half=False)
    fkd('fkd-k5-half', 'marginal_smoothing_k5', half=True)
    fkd('fkd-hard', 'hard', half=False)
    fkd('fkd-smoothing', 'smoothing', half=False)
    fkd('fkd-legacy', 'marginal_smoothing_k5', half=False, legacy=True)
    tinyvit('tinyvit')
    hald('hald')
    numpy1('sre2l-numpy1', 'sre2l-cutmix/epoch_0/batch_0.tar')
    numpy1('fkd-numpy1', 'fkd-k5/new000/class000_id000.tar')
    orders()
    hostile()
    checkpoint()
