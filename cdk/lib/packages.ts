import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { Refusal } from './refusal';
import { BINARIES } from './service';

/** The output folder of `make package`. */
const BUILT = join(__dirname, '../../target/lambda');

/** The packages: the functions' binaries and the operators' tool. tools/package.sh builds the same. */
const NAMES = [...BINARIES, 'watershed'];

/** The packages. Each is a folder with the file `bootstrap`. */
export class Packages {
  private constructor(private readonly dir: string) {}

  /** Returns the packages that `make package` has built. */
  static built(dir = BUILT): Packages {
    return new Packages(dir);
  }

  /** Returns placeholders, for templates that are read and not deployed. */
  static placeholders(): Packages {
    const dir = mkdtempSync(join(tmpdir(), 'watershed-packages-'));
    for (const name of NAMES) {
      mkdirSync(join(dir, name));
      writeFileSync(join(dir, name, 'bootstrap'), '#!/bin/sh\necho "run make package before you deploy" >&2\nexit 1\n');
    }
    return new Packages(dir);
  }

  /** Whether all packages exist. */
  get complete(): boolean {
    return NAMES.every((name) => existsSync(join(this.dir, name, 'bootstrap')));
  }

  folder(name: string): string {
    this.bootstrap(name);
    return join(this.dir, name);
  }

  /** Returns the architecture of a package, from its binary. So the configuration need not name it. */
  architecture(name: string): Architecture {
    return machine(this.bootstrap(name)) === ELF_AARCH64 ? Architecture.ARM_64 : Architecture.X86_64;
  }

  private bootstrap(name: string): string {
    const file = join(this.dir, name, 'bootstrap');
    if (!existsSync(file)) {
      throw new Refusal(`${name} is not packaged: ${file} is missing; run \`make package\``);
    }
    return file;
  }
}

/** The machine in an ELF file: two bytes at offset 18, see elf(5). */
const ELF_AARCH64 = 0xb7;

function machine(path: string): number {
  const bytes = Buffer.alloc(20);
  const file = openSync(path, 'r');
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
  return bytes.readUInt16LE(18);
}
