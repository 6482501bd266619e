"""The records of an evaluation: one per controller, per objective and per site."""

from __future__ import annotations

from dataclasses import dataclass, field

VERDICTS = ("control", "no control", "not testable", "excluded", "exploratory")


@dataclass(frozen=True)
class ControlRow:
    """One controller; None = not available.

    Responses are in the recording's unit unless said otherwise. Nothing from `contrast` on counts in the verdict.

    Attributes
    ----------
    objective, site, image_id : str
        What the controller was made for, and the image.
    confirmatory : bool
        Chosen before the responses were seen; the others are exploratory and in no count.
    verdict, reason : str
        One of `VERDICTS`, and why there is none or what is missing.
    generator, seed
        What made the image, and its seed.
    predicted, predicted_sd, validator_predicted : float
        Predicted response of the site, its SD, and the prediction of the validator.
    distance : float
        From the images of the fit, in medians of the distances of natural images.
    outside : bool
        Farther than 99 % of the natural images.
    measured, n
        Mean response over the `n` trials that were tested.
    score : float
        The objective's score of that mean (stretch, suppress: the mean; one_hot: the softmax share S).
    blank, n_blank
        Mean response to blanks (without blanks: before the stimulus), and trials.
    reference_image, reference_other, reference_kind : str
        The natural image that was picked as reference, the one picked in the other direction where it is another (""
        else), and among which images.
    reference, n_reference
        Mean response over the `n_reference` trials of the reference that were tested: all of a single image; of several
        the mean over both directions, each of the half that did not choose.
    references : int
        Images that could be picked.
    reference_score : float
        The objective's score of the reference on these trials (two images: the mean of their log S).
    reference_shortfall : float
        Expected true difference between the best of the shown references and the picked ones, in the unit of
        `difference`; 0 with a single one.
    difference, difference_low, difference_high : float
        What is tested, with its 95 % interval: controller less reference, of responses (stretch) or of the selectivity
        contrast in natural SDs (one_hot); reference less controller, of responses (suppress). Above 0: as was wanted.
    selectivity, selectivity_reference : float
        one_hot: the contrast of the controller and of the reference, target less weighted mean of the other sites.
    selectivity_sites : float
        one_hot: effective number of these other sites, 1 / sum of squared weights.
    gain, gain_low, gain_high : float
        Gain over the named reference image with its 95 % interval; suppress: how far below it.
    gain_unit : str
        "fraction" (of the reference's evoked response, less 1), "natural SD" or "log S".
    gain_note : str
        Why there is no fraction, or why the interval is not to be trusted.
    room : float
        suppress: mean response to the reference above 0, the lowest that the unit allows.
    silent_p : float
        suppress: p of the same test had the site answered 0 in every trial of its controller.
    blank_difference, blank_low, blank_high : float
        suppress: response to the blank less that to the controller, with its 95 % interval.
    blank_p : float
        suppress: p of the one-sided test that the controller is below the blank; it counts in no verdict.
    t, p, smallest_p : float
        Of the one-sided test, and the smallest p that these trials could have given.
    tied_p : float
        The smallest p that the recorded values could have given, whatever their labels: above `smallest_p` where they
        tie.
    exact : bool
        All relabellings were listed.
    bh : bool
        On the Benjamini-Hochberg list of its objective (q 0.05).
    strict : bool
        Above every re-shown reference image at alpha (an intersection test without a choice).
    p_each : dict of image id to p
        Against each re-shown reference image on all trials, where there is control.
    margin : float
        one_hot: response less that of the strongest other site, in natural SDs.
    score_without_worst : float
        one_hot: S without the strongest other site.
    off_target, off_target_natural, off_target_blank : float
        one_hot: mean standardised response of the other sites to the controller, to natural images and to blanks.
    suppression : str
        one_hot: "suppression", "no suppression" or "not testable".
    suppression_t, suppression_p : float
        Of the test that the other sites are below their mean over random natural images.
    incomplete_trials : int
        Trials of the controller that lack a response that the score needs.
    pseudo_image, pseudo_p
        The photograph that prediction would have chosen, and its p in the same test.
    contrast : dict of name to contrast
        Contrasts of the image (`protocols.rounds.contrast`).
    contrast_exceeded : str
        Names of the contrasts above the photographs' 95th percentile, "" = none.
    arm_images, arm_scores, arm_differences, arm_p : dict by kind of control arm
        Its image, its score, the controller less it (of what is tested: see `difference`), p of the same test on all
        trials.
    other_site_images : int
        Confirmatory controllers that the objective made for other sites.
    other_site_share, other_site_score : float
        Share of them that score lower at this site than its own controller, and the highest of their scores.
    monotonic_images : int
        References, graded images and controller whose scores were measured.
    monotonic_rho, monotonic_p : float
        Spearman correlation of measured with predicted score over these images, with one-sided p.
    stage_p : dict of stage (from 1) to p
        With interim looks: one-sided p of each stage's own trials; `p` is their repeated p value.
    stopped : str
        With interim looks: the look at which the controller was decided, and how; "": none before the end.
    """

    objective: str
    site: str
    image_id: str
    confirmatory: bool
    verdict: str = "excluded"
    reason: str = ""
    generator: str = ""
    seed: int | None = None
    predicted: float | None = None
    predicted_sd: float | None = None
    validator_predicted: float | None = None
    distance: float | None = None
    outside: bool | None = None
    measured: float | None = None
    n: int = 0
    score: float | None = None
    blank: float | None = None
    n_blank: int = 0
    reference_image: str = ""
    reference_other: str = ""
    reference_kind: str = ""
    reference: float | None = None
    n_reference: int = 0
    references: int = 0
    reference_score: float | None = None
    reference_shortfall: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    selectivity: float | None = None
    selectivity_reference: float | None = None
    selectivity_sites: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    gain_unit: str = ""
    gain_note: str = ""
    room: float | None = None
    silent_p: float | None = None
    blank_difference: float | None = None
    blank_low: float | None = None
    blank_high: float | None = None
    blank_p: float | None = None
    t: float | None = None
    p: float | None = None
    smallest_p: float | None = None
    tied_p: float | None = None
    exact: bool | None = None
    bh: bool | None = None
    strict: bool | None = None
    p_each: dict[str, float] = field(default_factory=dict)
    margin: float | None = None
    score_without_worst: float | None = None
    off_target: float | None = None
    off_target_natural: float | None = None
    off_target_blank: float | None = None
    suppression: str = ""
    suppression_t: float | None = None
    suppression_p: float | None = None
    incomplete_trials: int = 0
    pseudo_image: str = ""
    pseudo_p: float | None = None
    contrast: dict[str, float] = field(default_factory=dict)
    contrast_exceeded: str | None = None
    arm_images: dict[str, str] = field(default_factory=dict)
    arm_scores: dict[str, float] = field(default_factory=dict)
    arm_differences: dict[str, float] = field(default_factory=dict)
    arm_p: dict[str, float] = field(default_factory=dict)
    other_site_images: int = 0
    other_site_share: float | None = None
    other_site_score: float | None = None
    monotonic_images: int = 0
    monotonic_rho: float | None = None
    monotonic_p: float | None = None
    stage_p: dict[str, float] = field(default_factory=dict)
    stopped: str = ""


@dataclass(frozen=True)
class ObjectiveSummary:
    """Counts over the confirmatory controllers of one objective.

    Wilson 95 % intervals are descriptive: sites share noise.

    Attributes
    ----------
    tested, successes : int
        Sites with a verdict, and those with verdict "control".
    low, high : float
        Wilson interval of their share.
    chance : float
        Share expected without control (alpha).
    empirical_tested, empirical_successes, empirical_low, empirical_high
        The same of the photographs that prediction would have chosen.
    group_p : float
        Of the hypothesis that no site is controlled.
    listed : int
        Sites on the Benjamini-Hochberg list (q 0.05).
    strict, strict_tested : int
        Sites whose controller beats every reference, of those tested so.
    suppressed, suppression_tested : int
        Controllers with suppression of the other sites, of those tested.
    below_blank, below_blank_tested : int
        suppress: controllers below the blank at alpha, of those tested so.
    not_testable, excluded : int
        Sites without a verdict.
    arms : dict of kind to (int, int)
        Controllers tested against that control arm, and those above it at alpha.
    contrast_measured, exceeded
        Controllers whose contrast was measured, and by contrast those above the photographs' 95th percentile.
    monotonic, monotonic_tested : int
        Sites whose response rises with prediction (p 0.05), of those tested; the others do not count in claims about
        how far a response can be driven.
    other_site_share : float
        Median over sites of `ControlRow.other_site_share`.
    median_size, size_unit
        Median over the tested sites of the size that was measured, and its unit: "fraction" of the evoked response, or
        "natural SD" (of the response; one_hot: of the selectivity contrast).
    expected_successes, expected_listed : float
        Sites with verdict "control" and on the Benjamini-Hochberg list that are expected where every tested site has a
        true effect of that size, with the trials and the noise of this round.
    size_at_half : float
        The true size at every site with which half of them are expected to have verdict "control".
    """

    objective: str
    tested: int
    successes: int
    low: float
    high: float
    chance: float
    empirical_tested: int
    empirical_successes: int
    empirical_low: float
    empirical_high: float
    group_p: float | None
    listed: int
    strict: int
    strict_tested: int
    suppressed: int
    suppression_tested: int
    not_testable: int
    excluded: int
    arms: dict[str, tuple[int, int]] = field(default_factory=dict)
    contrast_measured: int = 0
    exceeded: dict[str, int] = field(default_factory=dict)
    monotonic: int = 0
    monotonic_tested: int = 0
    other_site_share: float | None = None
    median_size: float | None = None
    size_unit: str = ""
    expected_successes: float | None = None
    expected_listed: float | None = None
    size_at_half: float | None = None
    below_blank: int = 0
    below_blank_tested: int = 0


@dataclass(frozen=True)
class SiteConsistency:
    """How well predictions hold at one site, over the controllers and over all natural images and controllers.

    Attributes
    ----------
    site : str
    reliability : float
        Of the mean responses to natural and reference images.
    controllers, images : int
        Images with a prediction and a response.
    controllers_r, images_r : float
        Correlation of predicted and measured means.
    controllers_r2, images_r2 : float
        Its square over the reliability.
    """

    site: str
    reliability: float | None
    controllers: int
    controllers_r: float | None
    controllers_r2: float | None
    images: int
    images_r: float | None
    images_r2: float | None
