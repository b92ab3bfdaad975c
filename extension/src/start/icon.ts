import { LabIcon } from '@jupyterlab/ui-components';

/** A loss that falls, and a note: in the colours of JupyterLab's own icons. The kernel's logo (kernelspec/logo-svg.svg) is the same in colours. */
export const icon = new LabIcon({
  name: 'tunebook:icon',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 64 64">
  <g class="jp-icon3 jp-icon-selectable" stroke="#616161" stroke-width="5" stroke-linecap="round">
    <path style="fill:none" d="M5 14 C17 17 20 43 33 49 S52 53 59 53"/>
    <path style="fill:none" d="M45 33 V8 C52 10 56 14 56 21"/>
  </g>
  <ellipse class="jp-icon3 jp-icon-selectable" fill="#616161" cx="39" cy="34" rx="8" ry="6" transform="rotate(-20 39 34)"/>
</svg>`,
});
