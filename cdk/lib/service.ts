import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Rust writes this file from the list of resources; see shared/service/tests/description.rs. */
const FILE = join(__dirname, '../../shared/service.json');

/** A kind of item that the service keeps, with its place in the HTTP API. */
export interface Resource {
  /** The beginning of its keys, such as `U` in `U#tenant#id`. */
  readonly kind: string;
  /** Its path and its scopes, such as `users`. */
  readonly collection: string;
  readonly name: string;
}

/** What a function may be asked to do. Its permissions follow from it. */
export type Task = 'get' | 'list' | 'look-up' | 'create' | 'change' | 'delete' | 'ingest';

/** A function. Several functions may run the same binary. */
export interface FunctionSpec {
  /** Its name, without that of the deployment: `create-user-fn`. */
  readonly name: string;
  readonly binary: string;
  /** The collection of the one resource that it serves. Without, it serves all. */
  readonly resource?: string;
  /** The one action that it serves, such as `pay`. */
  readonly action?: string;
  readonly tasks: readonly Task[];
}

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** The routes of a path that lead to the same function. */
export interface Routes {
  readonly path: string;
  readonly methods: readonly Method[];
  /** Methods that the path does not take. They are routed as well, so that the function answers 405. */
  readonly refused: readonly Method[];
  /** The token must have one of these. */
  readonly scopes: readonly string[];
  /** The functions that can answer. A row deploys one of them at least, and the first that it deploys answers. */
  readonly functions: readonly string[];
}

/** What the list of resources comes to. */
export interface Service {
  readonly resources: readonly Resource[];
  readonly functions: readonly FunctionSpec[];
  readonly routes: readonly Routes[];
  /** The functions that can answer everything else: 404, 405 and liveness. The first that a row deploys does. */
  readonly default: readonly string[];
  /** The indexes of a table. Each resource maps its lists to them, so that a new list needs no new index. */
  readonly slots: readonly string[];
}

export const SERVICE: Service = JSON.parse(readFileSync(FILE, 'utf8'));

/** The binaries that the functions run, each once. */
export const BINARIES: readonly string[] = [...new Set(SERVICE.functions.map(({ binary }) => binary))];
