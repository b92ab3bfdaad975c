/** The public names. */
export {
  DataError,
  FileError,
  HubError,
  InterruptedError,
  MemoryError,
  OptionError,
  ShapeError,
  TrainingError,
  TunebookError,
} from './core/errors';
export { on } from './core/events';
export { concatenate_datasets, interleave_datasets } from './data/combine';
export { Dataset } from './data/dataset';
export { IterableDataset } from './data/iterable_dataset';
export { type DatasetDict, type IterableDatasetDict, load_dataset } from './data/load_dataset';
export { type BackendInfo, backend, startBackend } from './engine/backend';
export { svd } from './engine/decompose';
export { memoryUsage } from './engine/memory';
export { Profile, peakGflops, profiled } from './engine/profile';
/** tfjs on the backend that the library runs on: tensors and ops for cells of one's own. */
export * as tf from './engine/tf';
export { classify } from './evaluate/classify';
export { type Comparison, compare } from './evaluate/compare';
export { fewShot } from './evaluate/few_shot';
export { ModelPairwiseJudge, type PairwiseJudge, ReaderPairwiseJudge } from './evaluate/judge';
export { type Judgement, judge } from './evaluate/judgement';
export { loglikelihood } from './evaluate/likelihood';
export { evaluate } from './evaluate/loss';
export { EvaluationModule } from './evaluate/metrics';
export { classification_report } from './evaluate/report';
export { bootstrap, type Interval, type McNemar, mcnemar } from './evaluate/statistics';
export { generate } from './generate/generate';
export { GenerationConfig } from './generate/generation_config';
export { AsyncTextIteratorStreamer, TextStreamer } from './generate/streamer';
export * as check from './lessons/check';
export { AutoConfig, AutoModelForCausalLM, AutoTokenizer } from './models/auto';
export { clone_chat_template } from './models/chat_setup';
export { AutoModelForSequenceClassification } from './models/sequence_classification';
export { AdapterReport, type InspectOptions, inspect } from './notebook/inspect';
export { PreviewReport, preview } from './notebook/preview';
export { inspect_quantization, QuantizationReport } from './notebook/quantization';
export { showTable } from './notebook/table';
export { AdaLoraConfig } from './peft/adalora';
export { BOFTConfig } from './peft/boft';
export { FourierFTConfig } from './peft/fourierft';
export { HRAConfig } from './peft/hra';
export { IA3Config } from './peft/ia3';
export { LNTuningConfig } from './peft/ln_tuning';
export { LoHaConfig } from './peft/loha';
export { LoKrConfig } from './peft/lokr';
export { LoraConfig } from './peft/lora';
export { MissConfig } from './peft/miss';
export { get_peft_model, PeftModel } from './peft/model';
export { OFTConfig } from './peft/oft';
export { PromptTuningConfig } from './peft/prompt_tuning';
export { get_peft_model_state_dict } from './peft/state_dict';
export { VeraConfig } from './peft/vera';
export { pipeline } from './pipelines/text_generation';
export { BitsAndBytesConfig } from './quantize';
export { type Measured, Measurement, type MeasureOptions, measure } from './serve/measure';
export { type ServeOptions, type Server, serve } from './serve/serve';
export { TrainerCallback, TrainerControl } from './train/callbacks/callback';
export { EarlyStoppingCallback } from './train/callbacks/early_stopping';
export { GradualUnfreezingCallback } from './train/callbacks/gradual_unfreezing';
export { estimate_memory, MemoryEstimate } from './train/estimate';
export { freeze, unfreeze } from './train/freezing';
export type { EvalPrediction } from './train/predictions';
export type { TrainerState } from './train/state';
export { train_on_responses_only } from './trainers/responses';
export { SFTTrainer } from './trainers/sft';
export { SFTConfig } from './trainers/sft_config';
export { SweepResult } from './trainers/sweep/result';
export { sweep } from './trainers/sweep/sweep';
export { Trainer, TrainingArguments } from './trainers/trainer';

import { listen } from './notebook/listen';

listen();
