// Who keeps a log of a run, by the values of `report_to`: one line each.
export { MlflowCallback as mlflow } from './mlflow';
export { TensorBoardCallback as tensorboard } from './tensorboard';
export { TrackioCallback as trackio } from './trackio';
export { WandbCallback as wandb } from './wandb';
