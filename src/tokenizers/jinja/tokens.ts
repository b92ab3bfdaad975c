/** A token of @huggingface/jinja's lexer. */
export interface Token {
  value: string;
  type: string;
}

/** What of Jinja the parser does not know is written with what it knows, under names that no template can use. */
export const [IS, IS_NOT, TUPLE, CHAINED] = ['is ', 'is not ', 'tuple ', 'and '];

const KEYWORDS = new Set(['and', 'or', 'not', 'if', 'else', 'is', 'in']);
const OPENING = new Set(['OpenParen', 'OpenSquareBracket', 'OpenCurlyBracket']);
const CLOSING = new Set(['CloseParen', 'CloseSquareBracket', 'CloseCurlyBracket']);
const name = (value: string): Token => ({ type: 'Identifier', value });
const isName = (token: Token | undefined, value: string) => token?.type === 'Identifier' && token.value === value;

/** Where the expression without operators that begins at `first` ends: a literal, a name with its attributes and calls, a list. */
function primaryEnd(tokens: Token[], first: number): number {
  let [depth, i] = [0, first];
  do {
    if (OPENING.has(tokens[i].type)) depth++;
    if (CLOSING.has(tokens[i].type)) depth--;
    i++;
  } while (
    i < tokens.length &&
    (depth > 0 || ['Dot', 'OpenSquareBracket', 'OpenParen'].includes(tokens[i].type) || tokens[i - 1].type === 'Dot')
  );
  return i;
}

/** Tests with arguments as filters, which bind as tightly: `x is divisibleby(2)` and `x is in [1, 2]`. */
export function testsWithArguments(tokens: Token[]): Token[] {
  const out: Token[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const negated = isName(tokens[i], 'is') && isName(tokens[i + 1], 'not');
    const [test, first] = [tokens[i + (negated ? 2 : 1)], i + (negated ? 3 : 2)];
    const next = tokens[first];
    const bare =
      ['NumericLiteral', 'StringLiteral', 'OpenSquareBracket'].includes(next?.type) ||
      (next?.type === 'Identifier' && !KEYWORDS.has(next.value));
    if (!isName(tokens[i], 'is') || test?.type !== 'Identifier' || !(bare || next?.type === 'OpenParen')) {
      out.push(tokens[i]);
      continue;
    }
    out.push({ type: 'Pipe', value: '|' }, name((negated ? IS_NOT : IS) + test.value));
    i = first - 1;
    if (!bare) continue;
    i = primaryEnd(tokens, first) - 1;
    out.push({ type: 'OpenParen', value: '(' }, ...testsWithArguments(tokens.slice(first, i + 1)), { type: 'CloseParen', value: ')' });
  }
  return out;
}

/** `()` and `(a,)` as lists that become tuples. */
export function tuples(tokens: Token[]): Token[] {
  const out: Token[] = [];
  const open: number[] = [];
  for (const token of tokens) {
    if (OPENING.has(token.type)) open.push(out.length);
    const from = CLOSING.has(token.type) ? (open.pop() as number) : -1;
    out.push(token);
    if (token.type !== 'CloseParen' || from < 0) continue;
    const before = out[from - 1];
    const called = before && (CLOSING.has(before.type) || (before.type === 'Identifier' && !KEYWORDS.has(before.value)));
    const last = out.at(-2) as Token;
    if (called || !(last.type === 'Comma' || from === out.length - 2)) continue;
    out.splice(out.length - (last.type === 'Comma' ? 2 : 1));
    out[from] = { type: 'OpenSquareBracket', value: '[' };
    out.push({ type: 'CloseSquareBracket', value: ']' }, { type: 'Pipe', value: '|' }, name(TUPLE));
  }
  return out;
}

/** `a < b < c` is `a < b and b < c`: the second comparison is marked. */
export function chains(tokens: Token[]): Token[] {
  const compared = [false];
  return tokens.map((token) => {
    if (OPENING.has(token.type)) compared.push(false);
    else if (CLOSING.has(token.type)) compared.pop();
    const breaks = ['Comma', 'Colon', 'Equals', 'OpenStatement', 'OpenExpression'].includes(token.type);
    if (breaks || (token.type === 'Identifier' && KEYWORDS.has(token.value))) compared[compared.length - 1] = false;
    if (token.type !== 'ComparisonBinaryOperator') return token;
    const chained = compared.at(-1);
    compared[compared.length - 1] = true;
    return chained ? { ...token, value: CHAINED + token.value } : token;
  });
}
