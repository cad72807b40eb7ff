"""The annotation page's server: one annotator, this machine only.

``app`` puts it together, ``guard`` lets in who has the token, ``documents`` says things in JSON, ``pictures`` cuts
images into tiles and ``slides`` reads those of slides, ``routes_…`` answer, ``events`` tells what happens meanwhile,
``serving`` listens. Reaches only :mod:`frugalseg.project`, :mod:`frugalseg.jobs`, :mod:`frugalseg.formats`,
:mod:`frugalseg.images` and :mod:`frugalseg.slides`; imports no torch.
"""
