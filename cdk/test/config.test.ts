import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { App } from 'aws-cdk-lib';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { loadConfig, parseConfig } from '../lib/config';
import { Packages } from '../lib/packages';
import { Refusal } from '../lib/refusal';
import { Watershed } from '../lib/stack';
import { allStages, stageOf } from '../lib/stages';
import { config } from './support';

const scratch = mkdtempSync(join(tmpdir(), 'watershed-config-'));

function file(text: string): string {
  const path = join(scratch, 'config.json');
  writeFileSync(path, text);
  return path;
}

function refused(attempt: () => unknown, ...messages: RegExp[]): void {
  assert.throws(attempt, (error: Error) => {
    assert.ok(error instanceof Refusal, String(error));
    for (const message of messages) {
      assert.match(error.message, message);
    }
    return true;
  });
}

test('the example is a valid configuration', () => {
  const example = loadConfig('config.example.json');
  assert.equal(example.name, 'watershed');
  assert.equal(example.retainData, true);
});

test('an unknown stage is refused with a list of the stages', () => {
  refused(() => stageOf('csqr'), /`csqr` is not a stage: choose one of single-responsibility, lambda-lith, .*, cqrs$/);
  assert.equal(allStages().filter((row) => row.kind === 'stage').length, 7);
});

test('dev and prod have no default for issuer, audience and signing keys', () => {
  for (const base of ['dev', 'prod']) {
    refused(
      () => parseConfig({ base }, 'it'),
      /issuer is missing/,
      /audience is missing/,
      /signingKeysSecret is missing/,
      /config\.example/,
    );
  }
});

test('a missing or unreadable file is refused with a hint', () => {
  refused(() => loadConfig('dev'), /^`dev` does not exist: name a JSON file such as cdk\/config\.example\.json$/);
  refused(() => loadConfig(file('{')), /is not valid JSON/);
  refused(() => loadConfig(file('[]')), /must be a JSON object/);
  refused(() => loadConfig(file('{"base": "staging"}')), /base must be prod or dev/);
});

test('all errors of a configuration are reported at once', () => {
  const wrong = {
    base: 'dev',
    issuer: 'http://plain',
    audience: [],
    colour: 'blue',
    redis: 'yes',
    signingKeysSecret: 'keys',
  };
  const messages = [
    /issuer must be the https/,
    /audience must be a list/,
    /colour is not a known key: choose one of base, name/,
    /redis must be true/,
  ];
  refused(() => parseConfig(wrong, 'it'), ...messages, /signingKeysSecret must be the ARN/);
});

test('a configuration with values that AWS would refuse is refused', () => {
  const queue = { fifo: false, batchSize: 10, windowSeconds: 0, pollers: { maximumConcurrency: 50 }, reserved: false };
  const wrong: [object, RegExp][] = [
    [{ name: 'Watershed' }, /name must be/],
    [{ name: 'a-name-that-is-longer-than-any' }, /name must be/],
    [{ keysRevision: 1.5 }, /keysRevision must be a whole number/],
    [{ logRetentionDays: 8 }, /logRetentionDays must be/],
    [{ throttle: { rate: 0, burst: 1 } }, /throttle must have/],
    [{ queue: { ...queue, batchSize: 100 } }, /must have windowSeconds of 1 or more/],
    [{ queue: { ...queue, fifo: true, windowSeconds: 1 } }, /windowSeconds of 0 if fifo is true/],
    [{ queue: { ...queue, pollers: { maximumConcurrency: 1 } } }, /maximumConcurrency": 2 to 1000/],
    [{ queue: { ...queue, pollers: { minimumPollers: 5, maximumPollers: 2 } } }, /pollers/],
    [{ queue: { fifo: true } }, /queue must have exactly the keys/],
    [{ tracing: 'off' }, /tracing must be true or false/],
    [{ writeConcurrency: 0 }, /writeConcurrency must be a whole number from 1/],
    [{ writeConcurrency: 1.5 }, /writeConcurrency must be a whole number from 1/],
    [{ projection: 0 }, /projection must be/],
    [{ projection: 2, otherProjection: 2 }, /must differ from projection/],
    [{ restored: 0 }, /restored must be a whole number from 1/],
    [{ restored: 1, base: 'dev' }, /restored needs "retainData": true/],
    [{ warmThroughput: { reads: 1, writes: 1 } }, /warmThroughput must have/],
    [{ alarmEmail: 'nobody' }, /alarmEmail must be/],
  ];
  for (const [changes, message] of wrong) {
    refused(() => config(changes), message);
  }
});

test('pollers have a maximum concurrency or numbers of pollers, not both', () => {
  const both = { maximumConcurrency: 5, minimumPollers: 2, maximumPollers: 4 };
  const queue = { fifo: false, batchSize: 10, windowSeconds: 0, pollers: both, reserved: false };
  refused(() => config({ queue }), /not both/);
});

test('a missing package is refused with the command that builds it', () => {
  const empty = Packages.built(scratch);
  refused(
    () => new Watershed(new App(), config(), stageOf('cqrs'), empty),
    /read-fn is not packaged.*run `make package`/,
  );
  assert.equal(empty.complete, false);
});

test('the architecture of a package is read from its binary', () => {
  const elf = Buffer.concat([Buffer.from('\x7fELF\x02\x01\x01', 'latin1'), Buffer.alloc(11), Buffer.from([0xb7, 0])]);
  mkdirSync(join(scratch, 'read-fn'));
  writeFileSync(join(scratch, 'read-fn', 'bootstrap'), elf);
  assert.equal(Packages.built(scratch).architecture('read-fn'), Architecture.ARM_64);
  assert.equal(Packages.placeholders().architecture('read-fn'), Architecture.X86_64);
});

/** Runs the CDK application as `cdk deploy` does. */
function app(context: object, environment: object) {
  const env = { ...process.env, CDK_DEFAULT_ACCOUNT: '', CDK_DEFAULT_REGION: '', ...environment, CDK_OUTDIR: scratch };
  const variables = {
    ...env,
    CDK_CONTEXT_JSON: JSON.stringify({ deploying: true, stage: 'csqr', config: 'config.example.json', ...context }),
  };
  return spawnSync('node', ['--import', 'tsx', 'bin/watershed.ts'], { env: variables, encoding: 'utf8' });
}

test('each error is one line, before anything is deployed', () => {
  const loggedIn = { CDK_DEFAULT_ACCOUNT: '111122223333', CDK_DEFAULT_REGION: 'eu-central-1' };
  const own = JSON.parse(readFileSync('config.example.json', 'utf8'));
  const otherRegion = { name: 'api.example.com', certificate: 'arn:aws:acm:us-east-1:111122223333:certificate/0-1-2' };
  const attempts: [object, object, RegExp][] = [
    [{}, {}, /^no AWS account to deploy to: log in/],
    [{}, { ...loggedIn, CDK_DEFAULT_REGION: '' }, /^no AWS region to deploy to/],
    [
      {},
      { ...loggedIn, CDK_DEFAULT_REGION: 'us-east-1' },
      /^the secret .* is in account 111122223333, eu-central-1, but you deploy to .*us-east-1$/m,
    ],
    [{}, loggedIn, /^`csqr` is not a stage/],
    [
      { stage: 'cqrs', from: 'read-store' },
      loggedIn,
      /^no single deployment leads from `read-store` to cqrs: FROM must be cqrs-expand$/m,
    ],
    [
      { config: file(JSON.stringify({ ...own, domain: otherRegion })) },
      loggedIn,
      /^the certificate of the domain is in account 111122223333, us-east-1, but you deploy to .*eu-central-1$/m,
    ],
    [{ first: true, from: 'read-store' }, loggedIn, /^the first deployment replaces no stage/],
    [{ config: undefined }, loggedIn, /^no configuration: set -c config=/],
    [{ config: 'dev' }, loggedIn, /^`dev` does not exist/],
  ];
  for (const [context, environment, message] of attempts) {
    const { status, stderr } = app(context, environment);
    assert.equal(status, 1);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack trace');
  }
});
