import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { isJsonObject, parseJson } from '../core/json.js';
import { decodeText } from '../core/text.js';
import { SoftpackError } from '../errors.js';
import type { Preprocessing, TeacherDescription } from '../nn/teachers/description.js';
import { fileError } from '../store/file-error.js';

/** Options that say what a teacher's file does not. */

export interface TeacherFlags {
  readonly backend: 'auto' | 'tensorflow' | 'wasm' | 'cpu';
  readonly description?: string;
  readonly preprocessing?: Preprocessing;
  readonly probabilities?: boolean;
  readonly logits?: boolean;
  readonly classNames?: string;
}

export function addTeacherOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--backend <name>', 'TensorFlow.js backend; not used by .onnx files')
        .choices(['auto', 'tensorflow', 'wasm', 'cpu'])
        .default('auto'),
    )
    .option('--description <file>', 'JSON file with what the model does not say, as teacher.json')
    .addOption(
      new Option(
        '--preprocessing <name>',
        'how the teacher expects pixels, named as in Keras',
      ).choices([...['torch', 'tf', 'caffe', 'unit', 'raw']]),
    )
    .option('--probabilities', 'the teacher ends in a softmax')
    .addOption(
      new Option(
        '--logits',
        'the teacher gives logits, even if they look like something else',
      ).conflicts('probabilities'),
    )
    .option('--class-names <file>', 'one name per line, in the order of the logits');
}

export async function descriptionOf(flags: TeacherFlags): Promise<TeacherDescription> {
  const { description: file, preprocessing, probabilities, logits, classNames } = flags;
  let description: TeacherDescription = {};
  if (file !== undefined) {
    const json = parseJson(file, 'content', await readText(file));
    if (!isJsonObject(json)) {
      const details = { field: file, expected: 'an object as in teacher.json' };
      throw new SoftpackError('INVALID_FILE', 'a description must be a JSON object', details);
    }
    description = json as TeacherDescription;
  }
  return {
    ...description,
    ...(preprocessing === undefined ? {} : { preprocessing }),
    ...(probabilities ? { output: 'probabilities' } : {}),
    ...(logits ? { output: 'logits' } : {}),
    ...(classNames === undefined ? {} : { classNames: await linesOf(classNames) }),
  };
}

async function linesOf(file: string): Promise<string[]> {
  const lines = decodeText(file, 'content', await readText(file)).split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function readText(file: string): Promise<Buffer> {
  return readFile(file).catch((cause: unknown) => {
    throw fileError(file, cause);
  });
}
