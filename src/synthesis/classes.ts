import { SoftpackError } from '../errors.js';
import type { ImageSource } from '../images/source.js';
import type { Teacher } from '../nn/teachers/teacher.js';
import { matchClasses } from '../pipeline/match-classes.js';

/** The teacher's class of every image. @throws `INVALID_ARGUMENT` telling which folders are no classes of the teacher. */
export function classesOf(path: string, teacher: Teacher, images: ImageSource) {
  const { classNames, targets } = matchClasses(path, teacher, images);
  if (targets !== undefined) return { classNames, targets };
  const { classNames: folders } = images;
  const unknown = folders?.filter((name) => classNames?.includes(name) === false) ?? [];
  const lacking = `${unknown.length} of ${folders?.length} folders are none of them, the first ${unknown[0]}`;
  throw new SoftpackError('INVALID_ARGUMENT', "the images' classes are not the teacher's", {
    field: 'images',
    expected: `one folder per class of the teacher's ${teacher.classes}, or folders with the names of its classes`,
    found:
      images.targets === undefined
        ? `${images.count} images without classes`
        : unknown.length > 0
          ? lacking
          : `${folders?.length ?? 'other'} classes`,
  });
}
