// npm run build: library, kernel and views, if their sources changed.
import { main, setUp } from './setup.mjs';

await main(() => setUp(['dependencies', 'build']));
