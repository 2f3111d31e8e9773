import { register } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

// Lets a process import packages of another folder, as if they were installed next to softpack: for node's option --import.
const { folder, names } = JSON.parse(process.env.SOFTPACK_TEST_PACKAGES);
const parentURL = pathToFileURL(join(folder, 'index.mjs')).href;
const hook = `
  const names = ${JSON.stringify(names)};
  export const resolve = (name, context, next) =>
    next(name, names.includes(name) ? { ...context, parentURL: ${JSON.stringify(parentURL)} } : context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
