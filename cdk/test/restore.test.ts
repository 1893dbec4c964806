import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Template } from 'aws-cdk-lib/assertions';
import { prod, properties, STAGES, template } from './support';

const RESTORED = { restored: 1, projection: 2 };

/** Returns the tables of a template, by name: the logical id, the policies, and all other properties. */
function tables(from: Template): Map<string, { id: string; rest: any; policies: unknown[] }> {
  const found = Object.entries<any>(from.findResources('AWS::DynamoDB::GlobalTable'));
  return new Map(
    found.map(([id, { Properties, DeletionPolicy, UpdateReplacePolicy }]) => {
      const { TableName, ...rest } = Properties;
      return [TableName, { id, rest, policies: [DeletionPolicy, UpdateReplacePolicy] }];
    }),
  );
}

test('restored tables have names and logical ids of their own, and are otherwise the same', () => {
  for (const { stage } of STAGES) {
    const [before, after] = [tables(prod(stage)), tables(template(stage, RESTORED))];
    for (const name of ['watershed-write', 'watershed-commands']) {
      const [damaged, restored] = [before.get(name)!, after.get(`${name}-r1`)!];
      assert.ok(!after.has(name), stage);
      assert.deepEqual(restored.rest, damaged.rest, `${name} at ${stage}`);
      // CloudFormation imports a table only if it has a retention policy. It keeps a retained table that leaves the template.
      assert.deepEqual(
        [restored.policies, damaged.policies],
        [
          ['Retain', 'Retain'],
          ['Retain', 'Retain'],
        ],
      );
      const ids = [...before.values()].map(({ id }) => id);
      assert.ok(!ids.includes(restored.id), restored.id);
    }
  }
  const again = tables(template('cqrs', { ...RESTORED, restored: 2, projection: 3 }));
  assert.deepEqual([...again.keys()].sort(), ['watershed-commands-r2', 'watershed-read-v3', 'watershed-write-r2']);
});

test('all references are to the restored tables, and none to the damaged ones', () => {
  const options = { domainEvents: true };
  const damaged = [...tables(template('cqrs', options)).values()].map(({ id }) => id);
  const from = template('cqrs', { ...options, ...RESTORED });
  const text = JSON.stringify(from.toJSON());
  for (const id of damaged) {
    assert.ok(!text.includes(`"${id}"`), id);
  }
  const { Outputs } = from.toJSON();
  const restored = tables(from);
  assert.deepEqual(Outputs.WriteTable.Value, { Ref: restored.get('watershed-write-r1')!.id });
  assert.deepEqual(Outputs.CommandsTable.Value, { Ref: restored.get('watershed-commands-r1')!.id });
  const alarms = properties(from, 'AWS::CloudWatch::Alarm').map(([id]) => id);
  assert.ok(
    alarms.some((id) => id.includes('WriteR1TableThrottledReads')),
    alarms.join(),
  );
});
