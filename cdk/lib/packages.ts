import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Architecture, Code } from 'aws-cdk-lib/aws-lambda';
import { Refusal } from './refusal';
import { type FunctionName, TASKS } from './stages';

/** Where `make package` leaves them. */
const BUILT = join(__dirname, '../../target/lambda');

/** The packaged functions: a folder each, with the file `bootstrap` in it. */
export class Packages {
  private constructor(private readonly dir: string) {}

  /** What `make package` has built. */
  static built(dir = BUILT): Packages {
    return new Packages(dir);
  }

  /** Stand-ins, for templates that are looked at and not deployed. */
  static placeholders(): Packages {
    const dir = mkdtempSync(join(tmpdir(), 'watershed-packages-'));
    for (const name of Object.keys(TASKS)) {
      mkdirSync(join(dir, name));
      writeFileSync(join(dir, name, 'bootstrap'), '#!/bin/sh\necho "run make package before you deploy" >&2\nexit 1\n');
    }
    return new Packages(dir);
  }

  /** Whether all functions are there. */
  get complete(): boolean {
    return Object.keys(TASKS).every((name) => existsSync(join(this.dir, name, 'bootstrap')));
  }

  code(name: FunctionName): Code {
    this.bootstrap(name);
    return Code.fromAsset(join(this.dir, name));
  }

  /** What it was built for, so that nobody has to say it twice. */
  architecture(name: FunctionName): Architecture {
    return machine(this.bootstrap(name)) === ELF_AARCH64 ? Architecture.ARM_64 : Architecture.X86_64;
  }

  private bootstrap(name: FunctionName): string {
    const file = join(this.dir, name, 'bootstrap');
    if (!existsSync(file)) {
      throw new Refusal(`${name} is not packaged: ${file} is missing; run \`make package\``);
    }
    return file;
  }
}

/** The machine of an ELF file: two bytes at offset 18, see elf(5). */
const ELF_AARCH64 = 0xb7;

function machine(path: string): number {
  const bytes = Buffer.alloc(20);
  const file = openSync(path, 'r');
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
  return bytes.readUInt16LE(18);
}
