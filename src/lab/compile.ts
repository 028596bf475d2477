import { basename } from 'node:path';
import { execa } from 'execa';
import { RudderError } from '../core/errors.js';
import { type LabState, labDirectory } from './state.js';

/** Builds a small program of the lab with gcc, which the native addon needs too. @returns its path */
export async function compile(lab: LabState, source: string): Promise<string> {
  const program = `${labDirectory(lab.name)}/${basename(source, '.c')}`;
  const flags = ['-O2', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE'];
  const result = await execa('gcc', [...flags, '-o', program, source], { reject: false, all: true });
  if (result.exitCode !== 0) throw new RudderError('lab', `cannot build ${source}: ${result.all}`);
  return program;
}
