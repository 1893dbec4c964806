import { SERVICE } from '../lib/service';
import type { StageConfig } from '../lib/stages';

/**
 * The expected function and routes of an operation, derived a second time from the resources and their actions only. The tests
 * compare them with shared/service.json and with the templates.
 */
interface Expected {
  /** The accepted scopes, joined by commas. A token needs one of them. */
  readonly scopes: string;
  readonly access: 'read' | 'write';
  /** The function that answers, in a stage with one function for each operation. */
  readonly name: string;
}

type Group = [path: string, methods: string, scopes: string, access: Expected['access'], name: string];

const GROUPS: Group[] = [
  ...SERVICE.resources.flatMap(({ collection, name }): Group[] => {
    const [all, one] = [`/${collection}`, `/${collection}/{id}`];
    const [read, write] = [`${collection}:read`, `${collection}:write`];
    const actions = SERVICE.functions.filter(({ resource, action }) => resource === collection && action !== undefined);
    return [
      [all, 'GET HEAD', read, 'read', `list-${collection}-fn`],
      [all, 'POST PUT PATCH DELETE', write, 'write', `create-${name}-fn`],
      [one, 'GET HEAD', read, 'read', `get-${name}-fn`],
      [one, 'PUT POST', write, 'write', `replace-${name}-fn`],
      [one, 'PATCH', write, 'write', `update-${name}-fn`],
      [one, 'DELETE', write, 'write', `delete-${name}-fn`],
      ...actions.map(({ action }): Group => {
        return [`${one}/${action}`, 'POST PUT PATCH DELETE', write, 'write', `${action}-${name}-fn`];
      }),
    ];
  }),
  [
    '/commands/{id}',
    'GET HEAD',
    SERVICE.resources.map(({ collection }) => `${collection}:read`).join(),
    'read',
    'get-command-fn',
  ],
];

/** All routes that require a token, by their keys. */
export const ROUTES = new Map<string, Expected>(
  GROUPS.flatMap(([path, methods, scopes, access, name]) =>
    methods.split(' ').map((method): [string, Expected] => [`${method} ${path}`, { scopes, access, name }]),
  ),
);

/** Returns the functions of a stage. */
export function functionsOf({ stage, queue_deployed }: StageConfig): string[] {
  if (stage === 'single-responsibility') {
    return [...new Set([...ROUTES.values()].map(({ name }) => name))];
  }
  return stage === 'lambda-lith' ? ['lith-fn'] : ['read-fn', 'write-fn', ...(queue_deployed ? ['ingest-fn'] : [])];
}

/** Returns the function that answers a route at a stage. Without a route, returns that of all other requests. */
export function answering({ stage }: StageConfig, routeKey: string): string {
  const { access, name } = ROUTES.get(routeKey) ?? { access: 'read', name: 'get-command-fn' };
  if (stage === 'single-responsibility') {
    return name;
  }
  return stage === 'lambda-lith' ? 'lith-fn' : `${access}-fn`;
}
