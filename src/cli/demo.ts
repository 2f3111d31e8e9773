import { pathToFileURL } from 'node:url';
import type { Command } from 'commander';
import { packageFile } from '../core/package-files.js';
import { SoftpackError } from '../errors.js';
import type { CliIo } from './io.js';

/** The demo is an application on top of the library: built in a checkout, absent from the npm package. */
const APP = pathToFileURL(packageFile('dist/apps/demo/command.js')).href;

interface DemoApp {
  addDemo(program: Command, io: CliIo): void;
}

/** Adds the demo if it is there, otherwise a command that says where to get it. */
export async function addDemo(program: Command, io: CliIo, url = APP): Promise<void> {
  const app: DemoApp | undefined = await import(url).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw cause;
  });
  if (app !== undefined) return app.addDemo(program, io);
  program
    .command('demo')
    .description('Compress the soft labels of real images; needs a checkout of the repository.')
    .allowUnknownOption()
    .allowExcessArguments()
    .action(() => {
      throw new SoftpackError('UNSUPPORTED', 'the demo is not part of the npm package', {
        field: 'demo',
        expected: 'a checkout of the repository: npm ci && npm run demo',
      });
    });
}
