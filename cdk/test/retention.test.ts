import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Template } from 'aws-cdk-lib/assertions';
import { App } from 'aws-cdk-lib';
import { Packages } from '../lib/packages';
import { Watershed } from '../lib/stack';
import { stageOf } from '../lib/stages';
import { resolve } from './policies';
import { config, prod, STAGES, synthesise, template } from './support';

const QUEUED = STAGES.filter((row) => row.queue_deployed).map(({ stage }) => stage);
const FIFO = { fifo: true, batchSize: 10, windowSeconds: 0, pollers: { maximumConcurrency: 5 }, reserved: false };

function resources(from: Template): [id: string, resource: any][] {
  return Object.entries<any>(from.toJSON().Resources);
}

function ofType(from: Template, type: RegExp): [id: string, resource: any][] {
  return resources(from).filter(([, { Type }]) => type.test(Type));
}

/** The types of resources that hold clients' data, with their policies. */
const HOLDS_DATA = /^AWS::(DynamoDB|SQS)::/;

test('in prod no change deletes a table or a queue; in dev they are deleted with the stack', () => {
  for (const [base, policy] of [
    ['prod', 'Retain'],
    ['dev', 'Delete'],
  ]) {
    const from = template('cqrs', { base, domainEvents: true });
    // The failed starts of the nightly comparison are not data: their queue is deleted with the stack.
    const found = ofType(from, HOLDS_DATA).filter(([id]) => !id.startsWith('Verification'));
    // Three tables; two command queues and one event queue, each with a policy.
    assert.equal(found.length, 3 + 2 * 3, base);
    for (const [id, { DeletionPolicy, UpdateReplacePolicy }] of found) {
      assert.deepEqual([DeletionPolicy, UpdateReplacePolicy], [policy, policy], `${id} of ${base}`);
    }
  }
});

test('no retained resource blocks its successor, except a read table, which the operator deletes first', () => {
  const named = (from: Template) => {
    const retained = resources(from).filter(([, { DeletionPolicy }]) => /^Retain/.test(DeletionPolicy ?? ''));
    const texts = retained.flatMap(([, { Properties }]) =>
      Object.entries(Properties).filter(([key, value]) => key.endsWith('Name') && typeof value === 'string'),
    );
    return new Set(texts.map(([, name]) => name as string));
  };
  const always = [...named(prod('lambda-lith'))].sort();
  assert.deepEqual(always, ['watershed-commands', 'watershed-write']);
  for (const { stage, writes_read_store } of STAGES) {
    const sometimes = [...named(prod(stage))].filter((name) => !always.includes(name));
    assert.deepEqual(sometimes, writes_read_store ? ['watershed-read-v1'] : [], stage);
  }
});

test('a stage without a queue removes it, and CloudFormation names the next one', () => {
  const queues = (stage: string) =>
    ofType(prod(stage), /^AWS::SQS::Queue$/).filter(([id]) => id.startsWith('CommandQueue'));
  const [forward, back, again] = ['cqrs', 'read-store', 'cqrs'].map(queues);
  assert.equal(forward!.length, 2);
  assert.deepEqual(back, []);
  assert.deepEqual(again, forward);
  for (const stage of QUEUED) {
    for (const queue of [undefined, FIFO]) {
      const from = queue === undefined ? prod(stage) : template(stage, { queue });
      for (const [id, { Properties }] of ofType(from, /^AWS::SQS::Queue$/)) {
        assert.equal(Properties.QueueName, undefined, `${id} at ${stage}`);
      }
    }
  }
});

test('the name that CloudFormation generates for a FIFO queue is not too long', () => {
  // A name has the stack's name, the logical id and 13 generated characters, joined by hyphens, and the ending.
  const longest = 'a'.repeat(25);
  for (const [id] of ofType(template('cqrs', { name: longest, queue: FIFO }), /^AWS::SQS::Queue$/)) {
    assert.ok(longest.length + 1 + id.length + 1 + 13 + '.fifo'.length <= 80, id);
  }
});

/** Returns whether the rules of a template accept the parameters of the deployed one. */
function isAccepted(deployed: Template, next: Template): boolean {
  const { Parameters: known = {} } = deployed.toJSON();
  const { Parameters: parameters = {}, Rules: rules = {} } = next.toJSON();
  const value = (name: string) => (known[name] ?? parameters[name]).Default;
  const ownRules = Object.entries<any>(rules).filter(([name]) => name !== 'CheckBootstrapVersion');
  return ownRules.every(([, { Assertions }]) =>
    Assertions.every(({ Assert, AssertDescription }: any) => {
      const [parameter, wanted] = Assert['Fn::Equals'];
      assert.match(AssertDescription, /queue\.fifo/);
      return value(parameter.Ref) === wanted;
    }),
  );
}

test('the type of the queue can change only by way of a stage without a queue', () => {
  const [standard, fifo] = [prod('cqrs'), template('cqrs', { queue: FIFO })];
  const without = prod('read-store');
  assert.equal(isAccepted(standard, fifo), false);
  assert.equal(isAccepted(fifo, standard), false);
  for (const [deployed, next] of [
    [standard, standard],
    [fifo, fifo],
    [standard, without],
    [without, fifo],
    [fifo, without],
    [without, standard],
  ]) {
    assert.equal(isAccepted(deployed!, next!), true);
  }
  for (const stage of QUEUED) {
    assert.equal(isAccepted(prod(stage), template(stage, { queue: FIFO })), false, stage);
  }
});

test('the deployment after the first one retains and protects the same resources, and replaces none', () => {
  const [first, next] = [false, true].map((retainData) => template('cqrs', { retainData }));
  const comparable = (from: Template) =>
    ofType(from, HOLDS_DATA).map(([id, { Properties }]) => {
      const text = JSON.stringify(Properties);
      return [id, text.replace(/,?"DeletionProtectionEnabled":(true|false)/g, '')];
    });
  assert.deepEqual(comparable(first!), comparable(next!));
  assert.notDeepEqual(first!.toJSON(), next!.toJSON());
});

test('the stack has no termination protection, so a failed first deployment can be repeated', () => {
  const stack = new Watershed(new App(), config(), stageOf('cqrs'), Packages.placeholders());
  assert.ok(!stack.terminationProtection);
});

test('functions get the URL of the queue from CloudFormation', () => {
  for (const [stage, from] of synthesise(QUEUED.map(stageOf), config({ queue: FIFO }))) {
    const urls = ofType(from, /^AWS::Lambda::Function$/).flatMap(([, { Properties }]) => {
      const url = Properties.Environment.Variables.QUEUE_URL;
      return url === undefined ? [] : [resolve(url)];
    });
    assert.ok(urls.length > 0, stage);
    for (const url of urls) {
      assert.match(url, /^<CommandQueueCommands\w+>$/, stage);
    }
  }
});
