/** What the shell is told: the command could not be read, was interrupted, or failed. */
export const EXIT = { usage: 2, interrupted: 130, failed: 1 } as const;
