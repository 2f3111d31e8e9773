// Refuses a release of packages that do not say where their sources and issues are: npm's provenance needs the repository, and
// readers the rest. Run by `npm publish` (prepublishOnly) and by the release workflow before anything is built.
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ADDRESS = /^(?:git\+)?https:\/\/[^\s/]+\/\S+$/;

/** Fields of package.json that a release needs and that hold no public address. */
export function unsetForRelease({ repository, homepage, bugs }) {
  const addresses = {
    repository: repository?.url ?? repository,
    homepage,
    bugs: bugs?.url ?? bugs,
  };
  return Object.keys(addresses).filter((field) => !ADDRESS.test(addresses[field] ?? ''));
}

/** Ends the process with exit code 1 and what is to be set, if something is. */
export function requireReleasable(manifest) {
  const unset = unsetForRelease(manifest);
  if (unset.length === 0) return;
  console.error(
    `release: package.json has no public https address in ${unset.join(', ')}: set them as CONTRIBUTING.md says ("Releases"), ` +
      'then release. Nothing was published.',
  );
  process.exit(1);
}

// Of a checkout behind a link, Node.js gives the real path of a module but not of the program.
const [, program = ''] = process.argv;
const file = fileURLToPath(import.meta.url);
if (existsSync(program) && realpathSync(program) === file) {
  const root = path.dirname(path.dirname(file));
  requireReleasable(JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')));
}
