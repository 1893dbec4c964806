import { existsSync, readFileSync } from 'node:fs';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Refusal } from './refusal';

/** The configuration of a deployment, apart from its stage. */
export interface Config {
  /** The name of the stack, and the prefix of all names in it. */
  readonly name: string;
  /** The OpenID Connect issuer of the access tokens. */
  readonly issuer: string;
  /** The accepted audiences. A token must name one of them. */
  readonly audience: readonly string[];
  /**
   * The ARN of the secret with the signing keys. You create it once by hand, because it must outlive every stack: docs/deploy.md
   * has the command.
   */
  readonly signingKeysSecret: string;
  /** The revision of the keys in the secret. Raise it after a change: the functions read the keys at their start, and restart. */
  readonly keysRevision: number;
  /** Whether tables are protected, and tables and queues outlive the stack and stages without them. */
  readonly retainData: boolean;
  readonly logRetentionDays: number;
  /** Whether to deploy Redis in the stages that use it. Without it the only cache is the memory cache. */
  readonly redis: boolean;
  /**
   * The domain name of the front door, and the ARN of its certificate in AWS Certificate Manager, in the same region. The API's
   * default endpoint is then disabled. `basePath`, such as `v1`, is the path of the API on the domain; without it the API has the
   * whole domain.
   */
  readonly domain?: { readonly name: string; readonly certificate: string; readonly basePath?: string };
  /** The origins whose pages may call the API from a browser, such as `https://app.example.com`. None by default. */
  readonly cors?: readonly string[];
  /** The throttle of all clients together: requests per second, and burst. */
  readonly throttle: { readonly rate: number; readonly burst: number };
  readonly queue: {
    readonly fifo: boolean;
    readonly batchSize: number;
    /** How long Lambda waits for more messages of a batch, in seconds. A longer wait costs less under load, and delays commands. */
    readonly windowSeconds: number;
    /** How many batches run in parallel: a maximum for pollers on demand, or the numbers of provisioned pollers. */
    readonly pollers:
      { readonly maximumConcurrency: number } | { readonly minimumPollers: number; readonly maximumPollers: number };
    /** Whether ingest-fn has reserved concurrency, so that many requests cannot use it up. */
    readonly reserved: boolean;
  };
  /** Whether new code gets a tenth of the invocations first, and rolls back if an alarm goes off. */
  readonly canary: boolean;
  /** Whether X-Ray traces the functions. AWS decides how many invocations it traces. The code creates no spans. */
  readonly tracing: boolean;
  /**
   * The reserved concurrency of each function that takes writes and no reads, which is also its maximum. So waiting writes cannot
   * use up the concurrency of reads. None is reserved by default.
   */
  readonly writeConcurrency?: number;
  /** The projection that readers use: the version at the end of the read table's name. */
  readonly projection: number;
  /** A second projection that writers keep up to date, during a cutover. */
  readonly otherProjection?: number;
  /**
   * The number of the restore whose tables the service uses. With 1 the names of the write table and the commands table end in
   * `-r1`.
   * Without it the service uses the tables of the first deployment. See docs/restore.md.
   */
  readonly restored?: number;
  /** Whether DynamoDB reports throttled keys. */
  readonly contributorInsights: boolean;
  /** The minimum throughput of each table, in units per second, that is available without scaling. */
  readonly warmThroughput?: { readonly reads: number; readonly writes: number };
  /** Whether changes are published on an event bus, for other services. */
  readonly domainEvents: boolean;
  /** Whether a job compares the read store with the write store every night. It reads both completely. */
  readonly nightlyVerify: boolean;
  /** The email address that gets the alarms. */
  readonly alarmEmail?: string;
}

/** Returns the base path of the API, such as `/v1`; empty if there is none. */
export function basePath({ domain }: Config): string {
  return domain?.basePath === undefined ? '' : `/${domain.basePath}`;
}

/** The values that each deployment must set. They have no defaults. */
type Own = 'issuer' | 'audience' | 'signingKeysSecret';

const PROD: Omit<Config, Own> = {
  name: 'watershed',
  keysRevision: 1,
  retainData: true,
  logRetentionDays: 90,
  redis: true,
  throttle: { rate: 5_000, burst: 2_500 },
  queue: {
    fifo: false,
    batchSize: 10,
    windowSeconds: 0,
    pollers: { maximumConcurrency: 50 },
    reserved: true,
  },
  canary: true,
  tracing: false,
  projection: 1,
  contributorInsights: true,
  domainEvents: false,
  nightlyVerify: true,
};

const BASES: Record<string, Omit<Config, Own>> = {
  prod: PROD,
  dev: {
    ...PROD,
    name: 'watershed-dev',
    retainData: false,
    logRetentionDays: 7,
    redis: false,
    throttle: { rate: 100, burst: 50 },
    // A new account has ten environments for all functions together, so none can be reserved.
    queue: { ...PROD.queue, pollers: { maximumConcurrency: 5 }, reserved: false },
    canary: false,
    contributorInsights: false,
    nightlyVerify: false,
  },
};

/** Reads a configuration file. It names a base, `dev` or `prod`, and the values that differ. */
export function loadConfig(file: string): Config {
  if (!existsSync(file)) {
    throw new Refusal(`\`${file}\` does not exist: name a JSON file such as cdk/config.example.json`);
  }
  let given: unknown;
  try {
    given = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new Refusal(`${file} is not valid JSON: ${(error as Error).message}`);
  }
  return parseConfig(given, file);
}

/** Checks a configuration. Reports all errors at once. */
export function parseConfig(given: unknown, source: string): Config {
  if (!isRecord(given)) {
    throw new Refusal(`${source} must be a JSON object`);
  }
  const { base = 'prod', ...own } = given;
  const preset = typeof base === 'string' ? BASES[base] : undefined;
  const merged: Record<string, unknown> = { ...preset, ...own };
  const problems = preset === undefined ? [`base must be ${Object.keys(BASES).join(' or ')}`] : [];
  for (const key of Object.keys(merged).filter((key) => !(key in CHECKS))) {
    problems.push(`${key} is not a known key: choose one of ${['base', ...Object.keys(CHECKS)].join(', ')}`);
  }
  for (const [key, check] of Object.entries(CHECKS)) {
    const problem = check(merged[key]);
    if (problem !== undefined) {
      problems.push(`${key} ${merged[key] === undefined ? 'is missing: it ' : ''}${problem}`);
    }
  }
  if (merged['otherProjection'] === merged['projection']) {
    problems.push('otherProjection must differ from projection');
  }
  if (merged['restored'] !== undefined && merged['retainData'] === false) {
    problems.push('restored needs "retainData": true: CloudFormation imports only tables that it would retain');
  }
  if (problems.length > 0) {
    throw new Refusal(
      `${source} is invalid:\n${problems.join('\n')}\nSee cdk/config.example.json and cdk/lib/config.ts.`,
    );
  }
  return merged as unknown as Config;
}

/** Returns the error in a value, as a text that follows its key. */
type Check = (value: unknown) => string | undefined;

const rule =
  (problem: string, isValid: (value: unknown) => boolean): Check =>
  (value) =>
    isValid(value) ? undefined : problem;
const text = (problem: string, pattern: RegExp) =>
  rule(problem, (value) => typeof value === 'string' && pattern.test(value));
const integer = (min: number, max: number) => rule(`must be a whole number from ${min} to ${max}`, isWithin(min, max));
const flag = rule('must be true or false', (value) => typeof value === 'boolean');
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined ? undefined : check(value);

const CHECKS: Record<keyof Config, Check> = {
  name: text(
    'must be 2 to 25 lower-case letters, digits or hyphens, a letter first',
    /^(?=.{2,25}$)[a-z][a-z0-9]*(-[a-z0-9]+)*$/,
  ),
  issuer: text('must be the https URL of an OpenID Connect issuer', /^https:\/\/\S+$/),
  audience: rule('must be a list of one or more texts', isTextList),
  signingKeysSecret: text(
    'must be the ARN of the secret with the signing keys, which `aws secretsmanager create-secret` prints',
    /^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+-[A-Za-z0-9]{6}$/,
  ),
  keysRevision: integer(1, 1_000_000),
  retainData: flag,
  logRetentionDays: rule(
    'must be a retention that CloudWatch Logs offers: 1, 3, 5, 7, 14, 30, 60, 90, … days',
    isRetention,
  ),
  redis: flag,
  domain: optional(domainProblem),
  cors: optional(
    rule(
      'must be a list of origins such as https://app.example.com: no path, no slash at the end, no wildcard',
      (value) => isTextList(value) && value.every(isOrigin),
    ),
  ),
  throttle: rule(
    'must have exactly the keys rate and burst, with whole numbers of 1 or more',
    (value) => hasExactly(value, 'rate', 'burst') && Object.values(value).every(isWithin(1, 1_000_000)),
  ),
  queue: queueProblem,
  canary: flag,
  tracing: flag,
  writeConcurrency: optional(integer(1, 1_000_000)),
  projection: integer(1, 65_535),
  otherProjection: optional(integer(1, 65_535)),
  restored: optional(integer(1, 1_000)),
  contributorInsights: flag,
  warmThroughput: optional(
    rule(
      'must have exactly the keys reads (12000 or more) and writes (4000 or more)',
      (value) =>
        hasExactly(value, 'reads', 'writes') &&
        isWithin(12_000, 100_000_000)(value['reads']) &&
        isWithin(4_000, 100_000_000)(value['writes']),
    ),
  ),
  domainEvents: flag,
  nightlyVerify: flag,
  alarmEmail: optional(text('must be an email address', /^\S+@\S+$/)),
};

const HOST_NAME = /^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$/;
const CERTIFICATE = /^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate\/[A-Za-z0-9-]+$/;

/** The valid base paths. API Gateway allows more characters; these need no encoding in any URL. BASE_PATH takes the same. */
const BASE_PATH = /^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/;

function domainProblem(value: unknown): string | undefined {
  if (!hasExactly(value, 'name', 'certificate') && !hasExactly(value, 'name', 'certificate', 'basePath')) {
    return 'must have the keys name and certificate, and may have basePath';
  }
  const { name, certificate, basePath = 'v1' } = value;
  if (typeof basePath !== 'string' || basePath.length > 300 || !BASE_PATH.test(basePath)) {
    return 'must have a basePath such as v1, without a slash at its start or end';
  }
  if (typeof name !== 'string' || !HOST_NAME.test(name)) {
    return 'must have a name such as api.example.com, in lower case, without https:// and without a path';
  }
  if (typeof certificate !== 'string' || !CERTIFICATE.test(certificate)) {
    return 'must have the ARN of its certificate, which `aws acm request-certificate` prints';
  }
  return undefined;
}

function queueProblem(value: unknown): string | undefined {
  if (!hasExactly(value, 'fifo', 'batchSize', 'windowSeconds', 'pollers', 'reserved')) {
    return 'must have exactly the keys fifo, batchSize, windowSeconds, pollers and reserved';
  }
  const { fifo, batchSize, windowSeconds, pollers, reserved } = value;
  if (typeof fifo !== 'boolean' || typeof reserved !== 'boolean') {
    return 'must have true or false for fifo and for reserved';
  }
  if (!isWithin(1, 10_000)(batchSize) || !isWithin(0, 300)(windowSeconds)) {
    return 'must have a batchSize from 1 to 10000 and windowSeconds from 0 to 300';
  }
  if (fifo && (Number(batchSize) > 10 || windowSeconds !== 0)) {
    return 'must have a batchSize of at most 10 and windowSeconds of 0 if fifo is true';
  }
  if (Number(batchSize) > 10 && windowSeconds === 0) {
    return 'must have windowSeconds of 1 or more if batchSize is more than 10';
  }
  return pollersProblem(pollers);
}

function pollersProblem(value: unknown): string | undefined {
  if (hasExactly(value, 'maximumConcurrency') && isWithin(2, 1_000)(value['maximumConcurrency'])) {
    return undefined;
  }
  if (
    hasExactly(value, 'minimumPollers', 'maximumPollers') &&
    isWithin(2, 200)(value['minimumPollers']) &&
    isWithin(Number(value['minimumPollers']), 2_000)(value['maximumPollers'])
  ) {
    return undefined;
  }
  return (
    'must have pollers of {"maximumConcurrency": 2 to 1000}, ' +
    'or of {"minimumPollers": 2 to 200, "maximumPollers": up to 2000}, but not both'
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function hasExactly(value: unknown, ...keys: string[]): value is Record<string, unknown> {
  return isRecord(value) && Object.keys(value).length === keys.length && keys.every((key) => key in value);
}

function isWithin(min: number, max: number): (value: unknown) => boolean {
  return (value) => Number.isInteger(value) && Number(value) >= min && Number(value) <= max;
}

/** Returns whether the text is an origin in the form that a browser sends. */
function isOrigin(text: string): boolean {
  return /^https?:/.test(text) && !text.includes('*') && URL.canParse(text) && new URL(text).origin === text;
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string' && item !== '');
}

function isRetention(value: unknown): boolean {
  return typeof value === 'number' && value in RetentionDays;
}
