import { listen } from '../notebook/listen';

// Commands that work import this: progress and warnings go to the terminal.
listen();
