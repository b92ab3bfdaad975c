/** The nodes that @huggingface/jinja's parser makes; its own types are of ES modules only. */
export type Node = Statement | Expression;

export type Statement =
  | { type: 'Program'; body: Node[] }
  | { type: 'If'; test: Expression; body: Node[]; alternate: Node[] }
  | { type: 'For'; loopvar: Target; iterable: Expression; body: Node[]; defaultBlock: Node[] }
  | { type: 'Break' | 'Continue' | 'Comment' }
  | { type: 'Set'; assignee: Target | Member; value: Expression | null; body: Node[] }
  | { type: 'Macro'; name: Identifier; args: Parameter[]; body: Node[] }
  | { type: 'FilterStatement'; filter: Identifier | Call; body: Node[] }
  | { type: 'CallStatement'; call: Call; callerArgs: Parameter[] | null; body: Node[] };

export type Expression =
  | Identifier
  | Call
  | Member
  | TupleLiteral
  | { type: 'IntegerLiteral' | 'FloatLiteral'; value: number }
  | { type: 'StringLiteral'; value: string }
  | { type: 'ArrayLiteral'; value: Expression[] }
  | { type: 'ObjectLiteral'; value: Map<Expression, Expression> }
  | { type: 'BinaryExpression'; operator: { value: string }; left: Expression; right: Expression }
  | { type: 'UnaryExpression'; operator: { value: string }; argument: Expression }
  | { type: 'FilterExpression'; operand: Expression; filter: Identifier | Call }
  | { type: 'TestExpression'; operand: Expression; negate: boolean; test: Identifier }
  | { type: 'SelectExpression'; lhs: Expression; test: Expression }
  | { type: 'Ternary'; condition: Expression; trueExpr: Expression; falseExpr: Expression }
  | { type: 'SpreadExpression' | 'KeywordSpreadExpression'; argument: Expression }
  | Keyword
  | Slice;

export type Identifier = { type: 'Identifier'; value: string };
export type TupleLiteral = { type: 'TupleLiteral'; value: Expression[] };
export type Call = { type: 'CallExpression'; callee: Expression; args: Expression[] };
export type Member = { type: 'MemberExpression'; object: Expression; property: Expression; computed: boolean };
export type Slice = { type: 'SliceExpression'; start?: Expression; stop?: Expression; step?: Expression };
export type Keyword = { type: 'KeywordArgumentExpression'; key: Identifier; value: Expression };
export type Target = Identifier | TupleLiteral;
export type Parameter = Identifier | Keyword;
