import { percent } from './text';
import {
  characters,
  compare,
  contains,
  equal,
  Float,
  isNumber,
  lengthOf,
  numberOf,
  str,
  TemplateError,
  Tuple,
  typeName,
  type Value,
} from './values';

function arithmetic(operator: string, left: Value, right: Value): Value {
  const unsupported = () => new TemplateError(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
  if (operator === '%' && typeof left === 'string') return percent(left, right);
  if (operator === '+') {
    if (typeof left === 'string' && typeof right === 'string') return left + right;
    if (typeof left === 'string') throw new TemplateError(`can only concatenate str (not "${typeName(right)}") to str`);
    if (Array.isArray(left) && Array.isArray(right) && left instanceof Tuple === right instanceof Tuple) return left.concat(right);
  }
  if (operator === '*') {
    const [many, times] = typeof left === 'number' ? [right, left] : [left, right];
    if (typeof times === 'number' && typeof many === 'string') return many.repeat(Math.max(0, times));
    if (typeof times === 'number' && Array.isArray(many)) return Array.from({ length: Math.max(0, times) }, () => Array.from(many)).flat(1);
  }
  if (!isNumber(left) || !isNumber(right)) throw unsupported();
  const [a, b] = [numberOf(left), numberOf(right)];
  const floats = left instanceof Float || right instanceof Float;
  const of = (value: number, float = floats): Value => (float ? new Float(value) : value);
  if ('//%'.includes(operator) && b === 0) throw new TemplateError('division by zero');
  switch (operator) {
    case '+':
      return of(a + b);
    case '-':
      return of(a - b);
    case '*':
      return of(a * b);
    case '/':
      return of(a / b, true);
    case '//':
      return of(Math.floor(a / b));
    case '%':
      return of(a - b * Math.floor(a / b));
    case '**':
      return of(a ** b, floats || b < 0);
  }
  throw unsupported();
}

/** left operator right, as Python has it; `and` and `or` are the caller's. */
export function binary(operator: string, left: Value, right: Value): Value {
  switch (operator) {
    case '==':
      return equal(left, right);
    case '!=':
      return !equal(left, right);
    case '<':
      return compare(left, right, operator) < 0;
    case '<=':
      return compare(left, right, operator) <= 0;
    case '>':
      return compare(left, right, operator) > 0;
    case '>=':
      return compare(left, right, operator) >= 0;
    case 'in':
      return contains(right, left);
    case 'not in':
      return !contains(right, left);
    case '~':
      return str(left) + str(right);
  }
  return arithmetic(operator, left, right);
}

export function unary(operator: string, value: Value): Value {
  if (!isNumber(value)) throw new TemplateError(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  const result = operator === '-' ? -numberOf(value) : numberOf(value);
  return value instanceof Float ? new Float(result) : result + 0;
}

/** value[start:stop:step] */
export function slice(value: Value, start: Value, stop: Value, step: Value): Value {
  if (typeof value !== 'string' && !Array.isArray(value)) throw new TemplateError(`'${typeName(value)}' object cannot be sliced`);
  const number = (given: Value): number | undefined => {
    if (given === undefined || given === null) return undefined;
    if (typeof given !== 'number') throw new TemplateError('slice indices must be integers or None');
    return given;
  };
  const [length, by] = [lengthOf(value), number(step) ?? 1];
  if (!by) throw new TemplateError('slice step cannot be zero');
  const [least, most] = by > 0 ? [0, length] : [-1, length - 1];
  const bound = (given: number | undefined, missing: number) =>
    given === undefined ? missing : Math.min(Math.max(given < 0 ? given + length : given, least), most);
  const [from, to] = [bound(number(start), by > 0 ? 0 : length - 1), bound(number(stop), by > 0 ? length : -1)];
  const all = typeof value === 'string' ? characters(value) : value;
  const picked: Value[] = [];
  for (let i = from; by > 0 ? i < to : i > to; i += by) picked.push(all[i]);
  if (typeof value === 'string') return picked.join('');
  return value instanceof Tuple ? Object.assign(new Tuple(), picked) : picked;
}
