/**
 * CloudWatch's metric math: parses expressions, checks them by CloudWatch's rules, and evaluates them.
 *
 * Rules: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html#metric-math-syntax
 */

/** The type of an expression: a scalar, a time series, or an array of time series, with that page's names. */
export type Type = 'S' | 'TS' | 'TS[]';

/** A value for each period; `undefined` if there is no data. */
export type Series = (number | undefined)[];

export type Expression =
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'text' }
  | { readonly kind: 'id'; readonly name: string }
  | { readonly kind: 'array'; readonly parts: Expression[] }
  | { readonly kind: 'call'; readonly name: string; readonly parts: Expression[] }
  | { readonly kind: 'operation'; readonly operator: string; readonly parts: Expression[] };

const TOKEN = /\s*(\d+(?:\.\d+)?|'[^']*'|"[^"]*"|[A-Za-z_]\w*|==|!=|<=|>=|&&|\|\||[-+*/^<>()[\],])/y;

/** The operators, by increasing precedence. */
const LEVELS = [['OR', '||'], ['AND', '&&'], ['==', '!=', '<=', '>=', '<', '>'], ['+', '-'], ['*', '/'], ['^']];
const COMPARISONS = [...LEVELS[0]!, ...LEVELS[1]!, ...LEVELS[2]!];

/** The functions that turn an array into one series, and a series into one scalar. */
const AGGREGATES = ['AVG', 'DATAPOINT_COUNT', 'MAX', 'MIN', 'STDDEV', 'SUM'];

export function parse(text: string): Expression {
  const tokens = tokensOf(text);
  const parsed = level(tokens, 0);
  if (tokens.length > 0) {
    throw new Error(`${tokens[0]} is not expected in ${text}`);
  }
  return parsed;
}

function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const from = TOKEN.lastIndex;
    const found = TOKEN.exec(text);
    if (found === null) {
      throw new Error(`cannot read ${text.slice(from)}`);
    }
    tokens.push(found[1]!);
  }
  return tokens;
}

function level(tokens: string[], depth: number): Expression {
  const operators = LEVELS[depth];
  if (operators === undefined) {
    return term(tokens);
  }
  let left = level(tokens, depth + 1);
  while (operators.includes(tokens[0] ?? '')) {
    const operator = tokens.shift()!;
    left = { kind: 'operation', operator, parts: [left, level(tokens, depth + 1)] };
  }
  return left;
}

function term(tokens: string[]): Expression {
  const token = tokens.shift();
  if (token === undefined) {
    throw new Error('the expression ends too early');
  }
  if (token === '-') {
    return { kind: 'operation', operator: '-', parts: [{ kind: 'number', value: 0 }, term(tokens)] };
  }
  if (token === '(') {
    const [inner, ...more] = list(tokens, ')');
    if (inner === undefined || more.length > 0) {
      throw new Error('parentheses hold one expression');
    }
    return inner;
  }
  if (token === '[') {
    return { kind: 'array', parts: list(tokens, ']') };
  }
  if (/^\d/.test(token)) {
    return { kind: 'number', value: Number(token) };
  }
  if (/^['"]/.test(token)) {
    return { kind: 'text' };
  }
  if (!/^\w/.test(token)) {
    throw new Error(`${token} is not expected`);
  }
  if (tokens[0] === '(') {
    tokens.shift();
    return { kind: 'call', name: token, parts: list(tokens, ')') };
  }
  return { kind: 'id', name: token };
}

function list(tokens: string[], end: string): Expression[] {
  const parts: Expression[] = [];
  while (tokens[0] !== end) {
    parts.push(level(tokens, 0));
    if (tokens[0] === ',') {
      tokens.shift();
    } else if (tokens[0] !== end) {
      throw new Error(`${end} is missing`);
    }
  }
  tokens.shift();
  return parts;
}

/** Returns an expression and all its parts. */
export function all(expression: Expression): Expression[] {
  return [expression, ...('parts' in expression ? expression.parts.flatMap(all) : [])];
}

/** Returns whether an expression turns a series into a scalar, however many points the series has. */
export function aggregatesSeries(expression: Expression, ids: ReadonlyMap<string, Type>): boolean {
  return all(expression).some(
    (part) => part.kind === 'call' && AGGREGATES.includes(part.name) && typeOf(part, ids) === 'S',
  );
}

/** Returns the type of an expression, for these types of ids. Throws if CloudWatch would refuse it. */
export function typeOf(expression: Expression, ids: ReadonlyMap<string, Type>): Type {
  switch (expression.kind) {
    case 'number':
      return 'S';
    case 'text':
      throw new Error('a text is not a value');
    case 'id': {
      const type = ids.get(expression.name);
      if (type === undefined) {
        throw new Error(`no metric has the id ${expression.name}`);
      }
      return type;
    }
    case 'array':
      if (expression.parts.some((part) => typeOf(part, ids) === 'S')) {
        throw new Error('an array holds time series, and no scalars');
      }
      return 'TS[]';
    case 'operation':
      return typeOfOperation(
        expression.operator,
        expression.parts.map((part) => typeOf(part, ids)),
      );
    case 'call':
      return typeOfCall(expression.name, expression.parts, ids);
  }
}

function typeOfOperation(operator: string, types: Type[]): Type {
  const isArray = types.includes('TS[]');
  if (isArray && COMPARISONS.includes(operator)) {
    throw new Error(`${operator} does not take an array`);
  }
  return isArray ? 'TS[]' : types.includes('TS') ? 'TS' : 'S';
}

function typeOfCall(name: string, parts: Expression[], ids: ReadonlyMap<string, Type>): Type {
  if (name === 'SEARCH') {
    return 'TS[]';
  }
  const types = parts.map((part) => typeOf(part, ids));
  if (name === 'IF' && (types.length === 2 || types.length === 3)) {
    if (types.includes('TS[]') || !types.includes('TS')) {
      throw new Error('IF takes scalars and at least one time series');
    }
    return 'TS';
  }
  if (AGGREGATES.includes(name) && types.length === 1 && types[0] !== 'S') {
    return types[0] === 'TS[]' ? 'TS' : 'S';
  }
  throw new Error(`${name}(${types}) is unknown: add it to this file as CloudWatch documents it`);
}

/** Returns the values of an expression that is a series. Implements only the rules that the tests need. */
export function evaluate(expression: Expression, ids: ReadonlyMap<string, Series>, periods: number): Series {
  return Array.from({ length: periods }, (_, period) => valueAt(expression, (id) => ids.get(id)?.[period]));
}

type Lookup = (id: string) => number | undefined;

function valueAt(expression: Expression, lookup: Lookup): number | undefined {
  switch (expression.kind) {
    case 'number':
      return expression.value;
    case 'id':
      return lookup(expression.name);
    case 'operation':
      return operate(expression.operator, expression.parts, lookup);
    case 'call': {
      const [first, then, otherwise] = expression.parts;
      if (expression.name === 'IF' && first && then && otherwise) {
        const condition = valueAt(first, lookup);
        return condition === undefined ? undefined : valueAt(condition === 0 ? otherwise : then, lookup);
      }
      if (expression.name === 'SUM' && first?.kind === 'array') {
        return operate('+', first.parts, lookup);
      }
      throw new Error(`${expression.name} cannot be evaluated here`);
    }
    default:
      throw new Error(`a ${expression.kind} cannot be evaluated here`);
  }
}

/** Applies an operator. A missing value counts as 0, unless all series have none. A division by 0 has no result. */
function operate(operator: string, parts: Expression[], lookup: Lookup): number | undefined {
  const values = parts.map((part) => valueAt(part, lookup));
  if (values.every((value, index) => value === undefined || isScalar(parts[index]!))) {
    return parts.every(isScalar) ? combine(operator, values as number[]) : undefined;
  }
  return combine(
    operator,
    values.map((value) => value ?? 0),
  );
}

function isScalar(expression: Expression): boolean {
  return expression.kind === 'number' || (expression.kind === 'operation' && expression.parts.every(isScalar));
}

function combine(operator: string, values: number[]): number | undefined {
  const [one = 0, other = 0] = values;
  switch (operator) {
    case '+':
      return values.reduce((sum, value) => sum + value, 0);
    case '-':
      return one - other;
    case '*':
      return one * other;
    case '/':
      return other === 0 ? undefined : one / other;
    case '>':
      return Number(one > other);
    default:
      throw new Error(`${operator} cannot be evaluated here`);
  }
}
