import { SoftpackError } from '../errors.js';
import type { DifferentiableNetwork } from '../nn/network.js';
import type { Teacher } from '../nn/teachers/teacher.js';

/** Kinds of teacher whose gradients and inner features are within reach. */
const DIFFERENTIABLE_KINDS =
  'a .safetensors file of saveConvNet, a torchvision ResNet (.pth), or a TensorFlow.js layers or graph model';

/**
 * The teacher's network with its gradients and inner features.
 *
 * @throws `UNSUPPORTED` naming the kinds that have them, or for networks with a fixed number of images or without features to see.
 */
export function networkOf(path: string, { network, fingerprint }: Teacher): DifferentiableNetwork {
  const refuse = (message: string, expected: string, found: unknown) =>
    new SoftpackError('UNSUPPORTED', message, { field: `teacher: ${path}`, expected, found });
  if (network === undefined) {
    const message = 'this kind of teacher has no gradients here; rded needs none';
    throw refuse(message, DIFFERENTIABLE_KINDS, fingerprint.kind);
  }
  if (network.batch !== undefined) {
    const message = 'the teacher takes a fixed number of images; rded can use it';
    throw refuse(message, 'a model of any number of images', network.batch);
  }
  if (network.taps.length > 0) return network;
  const message = 'the teacher has no features whose statistics images could be held to';
  throw refuse(message, 'batch norms or convolutions', '0 of both');
}
