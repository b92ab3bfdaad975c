import { expect, it } from 'vitest';
import { syntaxAdvice, typeAdvice } from '../../kernel/src/advice';

it('what the type checker says gets the remedy that fits a notebook', () => {
  for (const [text, names, advice] of [
    ["Cannot find name 'trainr'.", ['model', 'trainer'], "Did you mean 'trainer'?"],
    ["Cannot find name 'Model'.", ['model'], "Did you mean 'model'?"],
    ["Cannot find name 'tokenizer'.", ['model'], 'run that one first'],
    ["Cannot find name 'print'.", ['point'], 'console.log'],
    ["Property 'generate' does not exist on type 'Promise<CausalLM>'.", [], "put 'await' before"],
    ["Cannot find module 'left-pad' or its corresponding type declarations.", [], '%npm install left-pad in'],
    ["Cannot find module '@scope/name/part' or its corresponding type declarations.", [], '%npm install @scope/name in'],
  ] as const)
    expect(typeAdvice(text, names), text).toContain(advice);
  for (const text of [
    "Cannot find module './file.ts' or its corresponding type declarations.",
    "Cannot find module 'node:none' or its corresponding type declarations.",
    "Cannot find name 'constructor'. Did you mean 'x'?",
    "Type 'number' is not assignable to type 'string'.",
  ])
    expect(typeAdvice(text, ['text']), text).toBe('');
});

it('lines of Python are told from wrong TypeScript', () => {
  for (const line of [
    'import torch',
    'import numpy as np',
    'from peft import LoraConfig',
    'for x in range(3):',
    'def f(x):',
    'if x == 1:',
    'else:',
  ])
    expect(syntaxAdvice(line), line).toContain('Python');
  for (const line of [
    "import x from 'y'",
    'for (const x of y) {',
    'const a = [1,',
    'label: for (;;)',
    'x ? y : z',
    '})',
    'case 1:',
    'default:',
  ])
    expect(syntaxAdvice(line), line).toBe('');
});
