"""The table of models that can be asked for by name."""

from dataclasses import dataclass

from openvocab.checkpoint.hub_cache import HubFile


@dataclass(frozen=True)
class ZooModel:
    """One model.

    Attributes:
        name: what `Segmenter.load` and `--model` take.
        method: the META_ARCHITECTURE.
        clip: that it is built on, as open_clip calls it.
        config: name of its config, as `openvocab.assets.config_path` takes it.
        file_name: of the parameters; in their repository, too.
        megabytes: of parameters in float32 (of a shipped file in half precision); a released file may hold more.
        licence: of the parameters.
        note: what it knows, one line.
        published: mIoU in percent as its authors give it; "" for none.
        measured: what we have seen of it; "" for nothing.
        repo: owner and repository on the Hugging Face Hub; None if they ship with the package, or can be fetched by
            hand only.
        repo_type: "model", "space" or "dataset".
        page: where a person fetches them with a browser, if programs cannot.
    """

    name: str
    method: str
    clip: str
    config: str
    file_name: str
    megabytes: int
    licence: str
    note: str
    published: str = ""
    measured: str = ""
    repo: str | None = None
    repo_type: str = "model"
    page: str | None = None

    @property
    def shipped(self) -> bool:
        """Whether the parameters come with the package."""
        return self.repo is None and self.page is None

    @property
    def hub_file(self) -> HubFile | None:
        """The file on the Hub, if it lies there."""
        return self.repo and HubFile(self.name, self.repo, self.repo_type, self.file_name)


_RELEASED = "hamacojr/CAT-Seg-weights"
_SMALL_LICENCE = "MIT; trained on drawings under CC BY-SA 4.0 and others, see THIRD_PARTY.md"
_LSEG_LICENCE = "MIT (code of the authors); CLIP: MIT; trained on ADE20K and others, which have terms of their own"
_DRIVE = "https://drive.google.com/file/d/"
_SAME = "; a user found the files of fold 1 and fold 2 to be the same"
MODELS = (
    ZooModel(
        name="emojiscapes_catseg",
        method="CATSeg",
        clip="EmojiScapes",
        config="emojiscapes/catseg",
        file_name="emojiscapes_catseg.pth",
        megabytes=8,
        licence=_SMALL_LICENCE,
        note="knows drawn scenes of everyday things, not photographs",
        measured="EmojiScapes, 135 words: base 52.3, novel 61.6",
    ),
    ZooModel(
        name="emojiscapes_lseg",
        method="LSeg",
        clip="EmojiScapes",
        config="emojiscapes/lseg",
        file_name="emojiscapes_lseg.pth",
        megabytes=9,
        licence=_SMALL_LICENCE,
        note="trained on the same drawn scenes as emojiscapes_catseg",
        measured="EmojiScapes, 135 words: base 25.0, novel 8.0",
    ),
    ZooModel(
        name="catseg_b",
        method="CATSeg",
        clip="ViT-B/16",
        config="catseg_b",
        file_name="model_base.pth",
        megabytes=618,
        repo=_RELEASED,
        repo_type="space",
        licence="MIT (code of the authors); CLIP: MIT; trained on COCO-Stuff",
        note="trained on COCO-Stuff; for photographs",
        published="A-150 31.8, A-847 12.0, PC-59 57.5, PC-459 19.0, PAS-20 94.6, PAS-20b 77.3",
    ),
    ZooModel(
        name="catseg_l",
        method="CATSeg",
        clip="ViT-L/14@336",
        config="catseg_l",
        file_name="model_large.pth",
        megabytes=1736,
        repo=_RELEASED,
        repo_type="space",
        licence="MIT (code of the authors); CLIP: MIT; trained on COCO-Stuff",
        note="trained on COCO-Stuff; for photographs",
        published="A-150 37.9, A-847 16.0, PC-59 63.3, PC-459 23.8, PAS-20 97.0, PAS-20b 82.5",
    ),
    ZooModel(
        name="lseg_l16",
        method="LSeg",
        clip="ViT-B/32",
        config="lseg_l16",
        file_name="demo_e200.ckpt",
        megabytes=1981,
        page=_DRIVE + "1FTuHY1xPUkM-5gaDtMfgCl3D0gR89WV7",
        licence=_LSEG_LICENCE,
        note="ViT-L/16 trained on seven datasets; a user measured 32.07 mIoU on ADE20K",
    ),
    ZooModel(
        name="lseg_l16_fss",
        method="LSeg",
        clip="ViT-B/32",
        config="lseg_l16_fss1000",
        file_name="fss_l16.ckpt",
        megabytes=1981,
        page=_DRIVE + "1Nplkc_JsHIS55d--K2vonOOC3HrppzYy",
        licence=_LSEG_LICENCE,
        note="ViT-L/16, zero-shot: one word against the rest",
        published="FSS-1000 87.8",
    ),
    *(
        ZooModel(
            name=f"lseg_rn101_{name}",
            method="LSeg",
            clip="ViT-B/32",
            config=f"lseg_rn101_{config}",
            file_name=f"{file}.ckpt",
            megabytes=850,
            page=_DRIVE + drive_id,
            licence=_LSEG_LICENCE,
            note="ResNet-101, zero-shot: one word against the rest" + note,
            published=f"{benchmark} {published}",
        )
        for name, config, file, drive_id, benchmark, published, note in (
            ("pascal0", "pascal5i", "pascal_fold0", "1y4z4_yNGlZtn6osaeN4ZjMs6c0vr0F3m", "PASCAL-5i fold 0", 52.8, ""),
            ("pascal1", "pascal5i", "pascal_fold1", "1UZzN8kWkH-G8v6P8xcBXEHRZlQKPRxrX", "PASCAL-5i fold 1", 53.8, ""),
            ("pascal2", "pascal5i", "pascal_fold2", "1KCq1JphSMvj8X78bkWbdNIFm5zYzLTMX", "PASCAL-5i fold 2", 44.4, ""),
            ("pascal3", "pascal5i", "pascal_fold3", "1A_fllOJqyBg0ZTJcm85Cn0NAcwQbXnhl", "PASCAL-5i fold 3", 38.5, ""),
            ("coco0", "coco20i", "coco_fold0", "1nSYO3XtAv4mzWi4x-MFUfk04cpBKJT38", "COCO-20i fold 0", 22.1, ""),
            ("coco1", "coco20i", "coco_fold1", "1w0vz3yjEi_ZLgECRrgtoLxEHugyJkrs5", "COCO-20i fold 1", 25.1, _SAME),
            ("coco2", "coco20i", "coco_fold2", "1wmHtmJLdta18XuWQv6oX9llidCll_HrD", "COCO-20i fold 2", 24.9, _SAME),
            ("coco3", "coco20i", "coco_fold3", "1dliBUSOog7taJxMmb9cdefKH4XOKChVJ", "COCO-20i fold 3", 21.5, ""),
            ("fss", "fss1000", "fss_rn101", "1UIj49Wp1mAopPub5M6O4WW-Z79VB1bhw", "FSS-1000", 84.7, ""),
        )
    ),
)
