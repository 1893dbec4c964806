import { SERVICE } from '../lib/service';
import type { Row } from '../lib/stages';

/**
 * A function of the service, and its routes, worked out a second time from the resources and their actions alone. The
 * tests compare them with shared/service.json, and with the templates.
 */
interface Expected {
  /** The scopes of which a token needs one, joined by commas. */
  readonly scopes: string;
  readonly access: 'read' | 'write';
  /** The function that answers where each operation has one of its own. */
  readonly name: string;
}

type Group = [path: string, methods: string, scopes: string, access: Expected['access'], name: string];

const GROUPS: Group[] = [
  ...SERVICE.resources.flatMap(({ collection, name }): Group[] => {
    const [all, one] = [`/${collection}`, `/${collection}/{id}`];
    const [read, write] = [`${collection}:read`, `${collection}:write`];
    const acted = SERVICE.functions.filter(({ resource, action }) => resource === collection && action !== undefined);
    return [
      [all, 'GET HEAD', read, 'read', `list-${collection}-fn`],
      [all, 'POST PUT PATCH DELETE', write, 'write', `create-${name}-fn`],
      [one, 'GET HEAD', read, 'read', `get-${name}-fn`],
      [one, 'PUT POST', write, 'write', `replace-${name}-fn`],
      [one, 'PATCH', write, 'write', `update-${name}-fn`],
      [one, 'DELETE', write, 'write', `delete-${name}-fn`],
      ...acted.map(({ action }): Group => {
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

/** All routes that ask for a token, by their keys. */
export const ROUTES = new Map<string, Expected>(
  GROUPS.flatMap(([path, methods, scopes, access, name]) =>
    methods.split(' ').map((method): [string, Expected] => [`${method} ${path}`, { scopes, access, name }]),
  ),
);

/** The functions of a row. */
export function functionsOf({ stage, queue_deployed }: Row): string[] {
  if (stage === 'single-responsibility') {
    return [...new Set([...ROUTES.values()].map(({ name }) => name))];
  }
  return stage === 'lambda-lith' ? ['lith-fn'] : ['read-fn', 'write-fn', ...(queue_deployed ? ['ingest-fn'] : [])];
}

/** The function that answers a route in a row; without a route, that of everything else. */
export function answering({ stage }: Row, routeKey: string): string {
  const { access, name } = ROUTES.get(routeKey) ?? { access: 'read', name: 'get-command-fn' };
  if (stage === 'single-responsibility') {
    return name;
  }
  return stage === 'lambda-lith' ? 'lith-fn' : `${access}-fn`;
}
