"""The napari face of WENO: readers, layers and docks over the headless core."""
