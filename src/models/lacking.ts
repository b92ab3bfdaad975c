/** Features that tunebook lacks, by settings of config.json and of GGUF's metadata that stand for them, or by names. */
const LACKING: { what: string; names: RegExp; keys: string[] }[] = [
  {
    what: 'a mixture of experts',
    names: /moe|mixtral|gpt[-_]?oss|deepseek|dbrx|jamba|llama4/,
    keys: ['num_experts', 'num_local_experts', 'n_routed_experts', 'moe_num_experts', 'expert_count'],
  },
  {
    what: 'images',
    names: /(?<!r)vl|vision|llava|mllama|gemma3$|gemma3n|paligemma|idefics|pixtral|clip/,
    keys: ['vision_config', 'visual'],
  },
  { what: 'audio', names: /audio|whisper|speech|wav2vec/, keys: ['audio_config'] },
  { what: 'states instead of attention', names: /mamba|rwkv|recurrent/, keys: ['ssm.state_size', 'ssm_cfg', 'state_size'] },
  { what: 'an encoder', names: /bert|t5|bart/, keys: ['is_encoder_decoder'] },
];

/** What a model of an unknown architecture has that tunebook lacks, as a phrase; '' where nothing tells. `said`: its settings. */
export function lackedBy(type: string, said: Record<string, unknown>): string {
  const found = LACKING.filter(({ names, keys }) => names.test(type) || keys.some((key) => said[key])).map(({ what }) => what);
  const text = (said.text_config as { model_type?: unknown } | undefined)?.model_type;
  return [
    ...(found.length ? [`tunebook has no models with ${found.join(' or ')}`] : []),
    ...(typeof text === 'string' ? [`the model for text in it is of architecture '${text}'`] : []),
  ].join('; ');
}
