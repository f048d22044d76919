"""The evaluation set and what is measured on it: `make eval`.

Belongs here: programmes with burned-in captions whose every boundary is known, made by code that training
never uses (libass draws, ffmpeg moves the pictures), and the figures of the product on them. Does not belong
here: anything the product needs at run time, or training.
"""
