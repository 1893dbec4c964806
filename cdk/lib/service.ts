import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Rust writes this file from the list of resources: see shared/service/tests/description.rs. */
const FILE = join(__dirname, '../../shared/service.json');

/** A resource, with its place in the HTTP API. */
export interface Resource {
  /** The prefix of its keys, such as `U` in `U#tenant#id`. */
  readonly kind: string;
  /** The name in its path and its scopes, such as `users`. */
  readonly collection: string;
  readonly name: string;
}

/** A task of a function. The function's permissions follow from its tasks. */
export type Task = 'get' | 'list' | 'look-up' | 'create' | 'change' | 'delete' | 'ingest';

/** A function. Several functions may run the same binary. */
export interface FunctionSpec {
  /** The name without the deployment's: `create-user-fn`. */
  readonly name: string;
  readonly binary: string;
  /** The collection of the only resource that the function serves. Without it the function serves all. */
  readonly resource?: string;
  /** The only action that the function serves, such as `pay`. */
  readonly action?: string;
  readonly tasks: readonly Task[];
}

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** The routes of a path that lead to the same function. */
export interface Routes {
  readonly path: string;
  readonly methods: readonly Method[];
  /** The methods that the path does not take. They have routes too, so that the function answers 405. */
  readonly refused: readonly Method[];
  /** The accepted scopes. The token must have one of them. */
  readonly scopes: readonly string[];
  /** The functions that can answer. Each stage deploys at least one of them, and the first deployed one answers. */
  readonly functions: readonly string[];
}

/** The service as the list of resources defines it. */
export interface Service {
  readonly resources: readonly Resource[];
  readonly functions: readonly FunctionSpec[];
  readonly routes: readonly Routes[];
  /** The functions that can answer all other requests: 404, 405 and the health check. The first deployed one answers. */
  readonly default: readonly string[];
  /** The indexes of a table. Each resource maps its lists to them, so a new list needs no new index. */
  readonly slots: readonly string[];
}

export const SERVICE: Service = JSON.parse(readFileSync(FILE, 'utf8'));

/** The binaries of the functions, without duplicates. */
export const BINARIES: readonly string[] = [...new Set(SERVICE.functions.map(({ binary }) => binary))];
