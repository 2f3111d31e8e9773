"""Writes answers of SGLang's /generate with log-probabilities, and their known values (expected.json), by the functions of an
unpacked wheel that make these answers: what they need of a server is stood in for. No code of the project is kept.

Run: python make_sglang.py <folder of the unpacked wheel sglang-0.5.23>   (numpy, pybase64)
"""
import ast, json, os, random, sys, types, typing
import numpy as np
import pybase64

WHEEL, OUT = sys.argv[1], os.path.join(os.path.dirname(os.path.abspath(__file__)), 'sglang')
K, V = 3, 50
os.makedirs(OUT, exist_ok=True)


def functions(path, names):
    """Functions and methods of a module, which itself needs a GPU."""
    tree = ast.parse(open(os.path.join(WHEEL, 'sglang/srt/managers', path)).read())
    found = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names}
    assert set(found) == set(names), set(names) - set(found)
    future = ast.parse('from __future__ import annotations').body
    exec(compile(ast.Module(future + list(found.values()), []), path, 'exec'), scope)


scope = dict(vars(typing), np=np, pybase64=pybase64)
functions('io_struct.py', ['flat_top_logprobs_layout', 'build_flat_top_logprobs_arrays'])
MANAGER = ['add_logprob_to_meta_info', 'detokenize_logprob_tokens', 'detokenize_top_logprobs_tokens']
functions('tokenizer_manager.py', MANAGER + ['_build_flat_top_logprobs_fields', '_build_flat_top_logprobs_fields_from_arrays'])
PROCESSOR = ['_process_input_token_logprobs', '_process_input_top_logprobs']
functions('scheduler_components/logprob_result_processor.py', PROCESSOR)

manager = types.SimpleNamespace(tokenizer=types.SimpleNamespace(batch_decode=lambda rows: [f't{row[0]}' for row in rows]))
processor = types.SimpleNamespace(_uses_scoring_positions=lambda req: False, model_config=types.SimpleNamespace(vocab_size=V))
for names, own in ((MANAGER, manager), (PROCESSOR, processor)):
    for name in names:
        setattr(own, name, types.MethodType(scope[name], own))


def answer(number, prompt, said, start, texts=False, ids=False, flat=False, b64=False):
    """An answer of the server, and what it says: of each token the most probable ids with their logarithms."""
    random.seed(number)
    tokens = prompt + said
    rows = []
    for _ in tokens:
        logits = np.array([random.gauss(0, 2) for _ in range(V)], np.float32)
        logs = logits - np.log(np.exp(logits).sum())
        best = np.argsort(-logs)[:K]
        rows.append(([float(logs[i]) for i in best], [int(i) for i in best]))
    # Entry i of `rows` is the distribution of token i; the model gives that of the token behind each it reads.
    behind = rows[start + 1:len(prompt) + 1] + ([([0.0], [0])] if not said else [])
    logprob = types.SimpleNamespace(top_logprobs_num=K)
    req = types.SimpleNamespace(logprob=logprob, origin_input_ids=prompt)
    logprob.logprob_start_len = req.logprob_start_len = start
    req.temp_input_top_logprobs_val, req.temp_input_top_logprobs_idx = [[v for v, _ in behind]], [[i for _, i in behind]]
    state = types.SimpleNamespace(
        input_token_logprobs=[], output_token_logprobs=[], input_top_logprobs=[], output_top_logprobs=[],
        input_top_logprobs_val=[], input_top_logprobs_idx=[], input_token_logprobs_val=[], input_token_logprobs_idx=[],
        input_top_logprobs_scheduler_flat=None, input_top_logprobs_flat_fields=None, input_top_logprobs_flat_num_rows=-1,
        output_token_logprobs_val=[-1.0] * len(said), output_token_logprobs_idx=said,
        output_top_logprobs_val=[v for v, _ in rows[len(prompt):]], output_top_logprobs_idx=[i for _, i in rows[len(prompt):]],
        obj=types.SimpleNamespace(return_flat_raw_top_logprobs=flat, return_flat_raw_output_top_logprobs=flat,
                                  return_flat_raw_top_logprobs_b64=b64))
    if start < len(prompt):
        processor._process_input_token_logprobs(req, [-1.0] * len(behind))
        processor._process_input_top_logprobs(req)
        for name in ('input_token_logprobs_val', 'input_token_logprobs_idx', 'input_top_logprobs_val', 'input_top_logprobs_idx'):
            setattr(state, name, getattr(logprob, name))
    meta = {'id': f'{number:032x}', 'finish_reason': {'type': 'length', 'length': len(said)}, 'prompt_tokens': len(prompt)}
    manager.add_logprob_to_meta_info(meta, state, K, None, texts, finished=True)
    meta.update({'completion_tokens': len(said), 'cached_tokens': 0, 'e2e_latency': 0.5})
    whole = {'text': 'x', 'output_ids': said, 'meta_info': meta}
    if ids:
        whole['prompt_token_ids'] = prompt
    first = start if start < len(prompt) else len(prompt) - 1
    labels = rows[first + 1:]
    single = (lambda values: [float(np.float32(v)) for v in values])
    known = {'first': first, 'tokens': tokens if ids or start == 0 else None,
             'ids': [i for _, i in labels], 'logProbs': [single(v) for v, _ in labels]}
    return whole, known


FILES = {
    # A list, as one request of several prompts has it: whole prompts, nothing said, labels from the third token on.
    'nested.json': [answer(1, [5, 6, 7, 8], [9, 10], 0, texts=True), answer(2, [11, 12, 13], [], 0),
                    answer(3, [5, 6, 7, 8], [9, 1], 2), answer(4, [5, 6, 7, 8], [9, 1], 2, ids=True)],
    'answers.jsonl': [answer(5, [5, 6, 7], [9, 10, 4], 3), answer(6, [5, 6, 7], [9, 10, 4], 3, ids=True)],
    'flat.jsonl': [answer(7, [5, 6, 7, 8], [9, 10], 0, flat=True), answer(8, [2, 3], [], 0, flat=True)],
    'base64.jsonl': [answer(9, [5, 6, 7, 8], [9, 10], 0, flat=True, b64=True),
                     answer(10, [5, 6, 7], [9], 3, flat=True, b64=True, ids=True)],
}
for name, answers in FILES.items():
    with open(os.path.join(OUT, name), 'w') as f:
        whole = [own for own, _ in answers]
        compact = (lambda value: json.dumps(value, separators=(',', ':')))
        f.write(compact(whole) if name.endswith('.json') else ''.join(compact(own) + '\n' for own in whole))
with open(os.path.join(OUT, 'expected.json'), 'w') as f:
    json.dump({name: [known for _, known in answers] for name, answers in FILES.items()}, f, separators=(',', ':'))
