import type { Call, Expression, Identifier, Member, Node, Parameter, Statement, Target } from './ast';
import { filterNamed, testNamed } from './filters';
import { attribute, subscript } from './methods';
import { binary, slice, unary } from './operators';
import { CHAINED, IS, IS_NOT, TUPLE } from './tokens';
import { type Callable, Float, isDict, itemsOf, Namespace, str, TemplateError, truth, tuple, typeName, type Value } from './values';

/** Names and their values; blocks of a loop or macro have their own and see those around them. */
export class Scope {
  private readonly names = new Map<string, Value>();
  constructor(private readonly parent?: Scope) {}
  get(name: string): Value {
    return this.names.has(name) ? this.names.get(name) : this.parent?.get(name);
  }
  set(name: string, value: Value): void {
    this.names.set(name, value);
  }
}

/** What the statement `{% generation %}` is called in the source that the parser gets. */
export const GENERATION = '__generation__';

/** How a block ended. */
type Ending = 'Break' | 'Continue' | undefined;

/** Runs a parsed template. `mark` is given the text of each `{% generation %}` block and returns what is written for it. */
export class Evaluator {
  constructor(private readonly mark: (text: string) => string) {}

  /** The text that nodes write. */
  run(nodes: Node[], scope: Scope): string {
    const out: string[] = [];
    this.block(nodes, scope, out);
    return out.join('');
  }

  private block(nodes: Node[], scope: Scope, out: string[]): Ending {
    for (const node of nodes) {
      const ending = this.statement(node, scope, out);
      if (ending) return ending;
    }
    return undefined;
  }

  private statement(node: Node, scope: Scope, out: string[]): Ending {
    switch (node.type) {
      case 'Break':
      case 'Continue':
        return node.type;
      case 'Comment':
        return undefined;
      case 'Program':
        return this.block(node.body, scope, out);
      case 'If':
        return this.block(truth(this.value(node.test, scope)) ? node.body : node.alternate, scope, out);
      case 'For':
        return this.loop(node, scope, out);
      case 'Set':
        this.assign(node.assignee, node.value ? this.value(node.value, scope) : this.run(node.body, scope), scope);
        return undefined;
      case 'Macro':
        scope.set(node.name.value, this.macro(node.name.value, node.args, node.body, scope));
        return undefined;
      case 'FilterStatement':
        out.push(str(this.filter(this.run(node.body, scope), node.filter, scope)));
        return undefined;
      case 'CallStatement':
        out.push(this.callBlock(node, scope));
        return undefined;
      default:
        out.push(str(this.value(node, scope)));
        return undefined;
    }
  }

  private assign(target: Target | Member, value: Value, scope: Scope): void {
    if (target.type === 'Identifier') scope.set(target.value, value);
    else if (target.type === 'TupleLiteral') {
      const items = itemsOf(value);
      if (items.length !== target.value.length)
        throw new TemplateError(`cannot unpack ${items.length} values into ${target.value.length} names`);
      for (const [i, one] of target.value.entries()) this.assign(one as Target, items[i], scope);
    } else {
      const object = this.value(target.object, scope);
      if (!(object instanceof Namespace)) throw new TemplateError('cannot assign attribute on non-namespace object');
      object.values.set((target.property as Identifier).value, value);
    }
  }

  private loop(node: Extract<Statement, { type: 'For' }>, scope: Scope, out: string[]): Ending {
    const condition = node.iterable.type === 'SelectExpression' ? node.iterable : undefined;
    const all = itemsOf(this.value(condition ? condition.lhs : node.iterable, scope));
    const items = condition
      ? all.filter((item) => {
          const inner = new Scope(scope);
          this.assign(node.loopvar, item, inner);
          return truth(this.value(condition.test, inner));
        })
      : all;
    let changed: Value[] | undefined;
    for (const [i, item] of items.entries()) {
      const inner = new Scope(scope);
      inner.set(
        'loop',
        new Map<Value, Value>([
          ['index', i + 1],
          ['index0', i],
          ['revindex', items.length - i],
          ['revindex0', items.length - i - 1],
          ['first', i === 0],
          ['last', i === items.length - 1],
          ['length', items.length],
          ['depth', 1],
          ['depth0', 0],
          ['previtem', items[i - 1]],
          ['nextitem', items[i + 1]],
          ['cycle', (args: Value[]) => args[i % args.length]],
          [
            'changed',
            (args: Value[]) => {
              const same = changed !== undefined && binary('==', tuple(...changed), tuple(...args));
              changed = args;
              return !same;
            },
          ],
        ]),
      );
      this.assign(node.loopvar, item, inner);
      if (this.block(node.body, inner, out) === 'Break') break;
    }
    return items.length ? undefined : this.block(node.defaultBlock, scope, out);
  }

  private macro(name: string, parameters: Parameter[], body: Node[], scope: Scope): Callable {
    return (args, named) => {
      const inner = new Scope(scope);
      const rest = new Map(named);
      for (const [i, parameter] of parameters.entries()) {
        const key = parameter.type === 'Identifier' ? parameter.value : parameter.key.value;
        const given = i < args.length ? args[i] : rest.get(key);
        const missing = i >= args.length && !rest.has(key);
        rest.delete(key);
        inner.set(key, missing && parameter.type !== 'Identifier' ? this.value(parameter.value, inner) : given);
      }
      inner.set('caller', rest.get('caller'));
      rest.delete('caller');
      inner.set('varargs', tuple(...args.slice(parameters.length)));
      inner.set('kwargs', new Map<Value, Value>(rest));
      const reads = (special: string) => JSON.stringify(body).includes(`"${special}"`);
      if (args.length > parameters.length && !reads('varargs'))
        throw new TemplateError(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
      if (rest.size && !reads('kwargs')) throw new TemplateError(`macro '${name}' takes no keyword argument '${[...rest.keys()][0]}'`);
      return this.run(body, inner);
    };
  }

  private callBlock(node: Extract<Statement, { type: 'CallStatement' }>, scope: Scope): string {
    const { callee } = node.call;
    if (callee.type === 'Identifier' && callee.value === GENERATION) return this.mark(this.run(node.body, new Scope(scope)));
    const [args, named] = this.callArguments(node.call.args, scope);
    named.set('caller', this.macro('caller', node.callerArgs ?? [], node.body, scope));
    return str(this.call(callee, args, named, scope));
  }

  private callArguments(given: Expression[], scope: Scope): [Value[], Map<string, Value>] {
    const args: Value[] = [];
    const named = new Map<string, Value>();
    for (const one of given) {
      if (one.type === 'SpreadExpression') args.push(...itemsOf(this.value(one.argument, scope)));
      else if (one.type === 'KeywordArgumentExpression') named.set(one.key.value, this.value(one.value, scope));
      else if (one.type === 'KeywordSpreadExpression') {
        const more = this.value(one.argument, scope);
        if (!isDict(more)) throw new TemplateError(`argument after ** must be a mapping, not ${typeName(more)}`);
        for (const [key, value] of more) named.set(str(key), value);
      } else args.push(this.value(one, scope));
    }
    return [args, named];
  }

  private call(callee: Expression, args: Value[], named: Map<string, Value>, scope: Scope): Value {
    const f = this.value(callee, scope);
    if (typeof f === 'function') return f(args, named);
    throw new TemplateError(f === undefined ? `${source(callee)} is undefined` : `'${typeName(f)}' object is not callable`);
  }

  private filter(value: Value, filter: Identifier | Call, scope: Scope): Value {
    if (filter.type === 'Identifier' && filter.value === TUPLE) return tuple(...itemsOf(value));
    if (filter.type === 'Identifier') return filterNamed(filter.value)(value, [], new Map());
    const name = (filter.callee as Identifier).value;
    const [args, named] = this.callArguments(filter.args, scope);
    // Tests with arguments come as filters from tokens.ts.
    if (name.startsWith(IS_NOT)) return !testNamed(name.slice(IS_NOT.length))(value, args);
    if (name.startsWith(IS)) return testNamed(name.slice(IS.length))(value, args);
    return filterNamed(name)(value, args, named);
  }

  private member(node: Member, scope: Scope): Value {
    const object = this.value(node.object, scope);
    if (object === undefined) throw new TemplateError(`${source(node.object)} is undefined`);
    const { property } = node;
    if (!node.computed) return attribute(object, property.type === 'Identifier' ? property.value : (property as { value: number }).value);
    if (property.type !== 'SliceExpression') return subscript(object, this.value(property, scope));
    const [start, stop, step] = [property.start, property.stop, property.step].map((one) => one && this.value(one, scope));
    return slice(object, start, stop, step);
  }

  /** The value of an expression. */
  private value(node: Node, scope: Scope): Value {
    switch (node.type) {
      case 'Identifier':
        return scope.get(node.value);
      case 'StringLiteral':
      case 'IntegerLiteral':
        return node.value;
      case 'FloatLiteral':
        return new Float(node.value);
      case 'ArrayLiteral':
        return node.value.map((item) => this.value(item, scope));
      case 'TupleLiteral':
        return tuple(...node.value.map((item) => this.value(item, scope)));
      case 'ObjectLiteral':
        return new Map([...node.value].map(([key, item]) => [this.value(key, scope), this.value(item, scope)]));
      case 'MemberExpression':
        return this.member(node, scope);
      case 'CallExpression':
        return this.call(node.callee, ...this.callArguments(node.args, scope), scope);
      case 'UnaryExpression': {
        const value = this.value(node.argument, scope);
        return node.operator.value === 'not' ? !truth(value) : unary(node.operator.value, value);
      }
      case 'BinaryExpression': {
        const left = this.value(node.left, scope);
        if (node.operator.value.startsWith(CHAINED) && node.left.type === 'BinaryExpression')
          return (
            left && binary(node.operator.value.slice(CHAINED.length), this.value(node.left.right, scope), this.value(node.right, scope))
          );
        if (node.operator.value === 'and') return truth(left) ? this.value(node.right, scope) : left;
        if (node.operator.value === 'or') return truth(left) ? left : this.value(node.right, scope);
        return binary(node.operator.value, left, this.value(node.right, scope));
      }
      case 'FilterExpression':
        return this.filter(this.value(node.operand, scope), node.filter, scope);
      case 'TestExpression':
        return testNamed(node.test.value)(this.value(node.operand, scope), []) !== node.negate;
      case 'SelectExpression':
        return truth(this.value(node.test, scope)) ? this.value(node.lhs, scope) : undefined;
      case 'Ternary':
        return this.value(truth(this.value(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope);
      default:
        throw new TemplateError(`${node.type} is not an expression`);
    }
  }
}

/** An expression as its author may have written it, for errors. */
function source(node: Expression): string {
  if (node.type === 'Identifier') return `'${node.value}'`;
  if (node.type !== 'MemberExpression') return 'a value';
  const { property } = node;
  const key = property.type === 'Identifier' || property.type === 'StringLiteral' ? property.value : '...';
  return node.computed ? `${source(node.object)}[${key}]` : `${source(node.object)}.${key}`;
}
