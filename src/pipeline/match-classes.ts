import { SoftpackError } from '../errors.js';
import type { ImageSource } from '../images/source.js';
import { requireNames } from '../nn/teachers/shape.js';
import type { Teacher } from '../nn/teachers/teacher.js';

/**
 * Names of the teacher's classes and the class of every image, as far as they are known: by name where the teacher
 * has names and every folder is one of them, by number if there are as many folders as classes.
 */
export function matchClasses(
  path: string,
  { classes, classNames }: Pick<Teacher, 'classes' | 'classNames'>,
  { classNames: folders, targets }: ImageSource,
): { readonly classNames?: readonly string[]; readonly targets?: Uint32Array } {
  requireNames(path, classes, classNames);
  if (targets === undefined) return { classNames };
  if (classNames !== undefined && folders?.every((name) => classNames.includes(name))) {
    const ofFolder = folders.map((name) => classNames.indexOf(name));
    return { classNames, targets: targets.map((folder) => ofFolder[folder]) };
  }
  const numbered = folders === undefined || folders.length === classes;
  if (!numbered || targets.some((target) => target >= classes)) return { classNames };
  if (folders !== undefined) requireNumericOrder(folders);
  return { classNames: classNames ?? folders, targets };
}

/** Folders `0`, `1`, `10`, `2` are listed so: `10` must not be taken for the class of logit 2. */
function requireNumericOrder(folders: readonly string[]): void {
  if (!folders.every((name) => /^\d+$/.test(name))) return;
  const wrong = folders.findIndex((name, i) => i > 0 && Number(name) < Number(folders[i - 1]));
  if (wrong < 0) return;
  const message =
    "class folders are numbers whose order by name is not their order by value; pad them with zeros, or give the teacher's class names (--class-names)";
  throw new SoftpackError('INVALID_ARGUMENT', message, {
    field: 'images',
    expected: `folder ${folders[wrong]} before ${folders[wrong - 1]}`,
    found: `folder ${folders[wrong - 1]} as class ${wrong - 1}`,
  });
}
