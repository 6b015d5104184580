// Diagonal hatching in the fragment shader: what is predicted never looks like what was measured.
import { LayerExtension } from "@deck.gl/core";

export class HatchExtension extends LayerExtension {
  static override extensionName = "HatchExtension";

  override getShaders(): unknown {
    return {
      inject: {
        "fs:DECKGL_FILTER_COLOR": `
          float stripe = fract((gl_FragCoord.x + gl_FragCoord.y) / 9.0);
          float band = smoothstep(0.0, 0.12, stripe) * (1.0 - smoothstep(0.5, 0.62, stripe));
          color.a *= mix(0.34, 1.0, band);
        `,
      },
    };
  }
}
