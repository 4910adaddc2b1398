"""From an RGB raster to a hyperspectral cube: scenes, tiles, blending, noise, storage."""
