import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Template } from 'aws-cdk-lib/assertions';
import { Refusal } from '../lib/refusal';
import { stageBefore, stageOf } from '../lib/stages';
import { differences, granted } from './grants';
import { moves, NEIGHBOURS } from './moves';
import { config, prod, STAGES, synthesise } from './support';

const MOVES = moves(config());

/**
 * Returns the logical ids of the resources that functions need: tables, queues, Redis and its network. No function uses the queue
 * of the nightly comparison.
 */
function foundations(template: Template): string[] {
  const isFoundation = ([id, { Type }]: [string, any]) =>
    /^AWS::(DynamoDB|SQS|ElastiCache|EC2)::/.test(Type) && !id.startsWith('Verification');
  const found = Object.entries<any>(template.toJSON().Resources).filter(isFoundation);
  return found.map(([id]) => id).sort();
}

test('a deployment leads to a stage only from a neighbour, and an error names the neighbours', () => {
  for (const to of STAGES) {
    const origins = NEIGHBOURS.filter(([, rows]) => rows.some((row) => row.stage === to.stage));
    const neighbours = origins.map(([from]) => from.stage);
    for (const { stage } of STAGES) {
      if (neighbours.includes(stage) || stage === to.stage) {
        assert.equal(stageBefore(to, stage).stage, stage);
      } else {
        assert.throws(
          () => stageBefore(to, stage),
          (error: Error) => error instanceof Refusal && neighbours.every((name) => error.message.includes(name)),
          `${stage} to ${to.stage}`,
        );
      }
    }
  }
  assert.throws(() => stageBefore(stageOf('cqrs'), 'csqr'), /^Error: no single deployment leads from `csqr` to cqrs/);
});

test('during a step a function has the permissions of both stages, and no others', () => {
  for (const { from, to, during, title } of MOVES) {
    for (const { name } of to.functions) {
      assert.deepEqual(differences(during, name, granted(name, to, from)), [], title);
    }
  }
});

test('during a step the resources of both stages exist, and no others', () => {
  for (const { from, to, during, title } of MOVES) {
    const either = new Set([...foundations(prod(from.stage)), ...foundations(prod(to.stage))]);
    assert.deepEqual(foundations(during), [...either].sort(), title);
  }
});

test('during a step the functions are already those of the new stage', () => {
  for (const { to, during, title } of MOVES) {
    for (const type of ['Function', 'Version', 'Alias', 'EventSourceMapping', 'Permission']) {
      const ofType = (template: Template) => {
        const found = Object.entries(template.findResources(`AWS::Lambda::${type}`));
        return found.map(([id, { Properties }]) => [id, Properties]);
      };
      assert.deepEqual(ofType(during), ofType(prod(to.stage)), title);
    }
  }
});

test('while write-fn changes over to the queue, its earlier version can still apply commands', () => {
  const { during } = MOVES.find(({ title }) => title === 'cqrs-expand to cqrs')!;
  const missing = differences(during, 'write-fn', granted('write-fn', stageOf('cqrs-expand')));
  assert.deepEqual(missing, []);
});

test('a step from a stage to itself is the stage', () => {
  const cqrs = stageOf('cqrs');
  const during = synthesise([cqrs], undefined, stageBefore(cqrs, 'cqrs')).get('cqrs')!;
  assert.deepEqual(during.toJSON(), prod('cqrs').toJSON());
});
