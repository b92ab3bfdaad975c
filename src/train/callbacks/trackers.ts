// Who keeps a log of a run, by the values of `report_to`: one line each.
export { TensorBoardCallback as tensorboard } from './tensorboard';
