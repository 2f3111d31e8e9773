import { floats } from '../../core/arrays.js';
import { argument } from '../../core/check.js';
import { METHODS, PRECISIONS } from '../abi.js';
import type { DecoderSpec, EncoderSpec, Head } from '../types.js';
import { bitWidth, choice, codebookOf, given, positive, quotient, size } from './sizes.js';

/** `auto` is the absence of a method. */
const CHOOSABLE = Object.keys(METHODS).filter((name) => name !== 'auto');

export function checkEncoderSpec(spec: EncoderSpec): EncoderSpec {
  const classes = size('classes', given(spec).classes, 1);
  const width = size('width', spec.width, 1);
  const latent = size('latent', spec.latent, 1);
  quotient('latent', latent, width, 'width');
  const bits = bitWidth(spec.bits);
  floats('projection', spec.projection, classes * latent);
  codebookOf(spec.codebook, width, bits);
  return spec;
}

/** The spec with `bias` and `method` left as they are, each array checked against the sizes. */
export function checkDecoderSpec(spec: DecoderSpec): DecoderSpec {
  const classes = size('classes', given(spec).classes, 1);
  const latent = checkLatent(spec);
  floats('basis', spec.basis, latent * classes);
  if (spec.bias !== undefined) floats('bias', spec.bias, classes);
  if (spec.bases !== undefined) {
    const { length } = floats('bases', spec.bases);
    if (length === 0) argument.fail('bases', 'empty', 'at least one base vector', 0);
    quotient('bases', length, latent, 'latent');
  }
  checkHead(spec.head);
  choice('method', spec.method, CHOOSABLE);
  choice('precision', spec.precision, Object.keys(PRECISIONS));
  size('memoryCap', spec.memoryCap ?? 0);
  return spec;
}

/** Checks codebooks and the sizes of codes; gives the length of the latent vector. */
function checkLatent(spec: DecoderSpec): number {
  const width = size('width', spec.width, 1);
  const stages = size('stages', spec.stages, 1);
  const levels = size('levels', spec.levels, 1);
  const bits = bitWidth(spec.bits);
  if (levels > 2 ** bits) {
    argument.fail('levels', `too many for ${bits} bits`, `at most ${2 ** bits}`, levels);
  }
  const codebookStride = size('codebookStride', spec.codebookStride);
  const latentStep = size('latentStep', spec.latentStep);
  const latent = size('latent', spec.latent, 1);
  const expected = (stages - 1) * latentStep + width;
  if (latent !== expected) {
    argument.fail('latent', 'must be (stages - 1) * latentStep + width', expected, latent);
  }
  floats('codebooks', spec.codebooks, (stages - 1) * codebookStride + levels * width);
  return latent;
}

function checkHead(head: Head): void {
  const kind: unknown = head?.kind;
  if (kind === 'clamp' && 'eps' in head) positive('head.eps', head.eps);
  else if (kind === 'softmax' && 'tau' in head) positive('head.tau', head.tau);
  else if (kind !== 'identity') {
    const expected = '{kind: clamp, eps}, {kind: softmax, tau} or {kind: identity}';
    argument.fail('head', 'unknown head', expected, kind ?? head ?? 'nothing');
  }
}
